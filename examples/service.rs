//! A stateless HTTP service: the key arrives with each request and is gone after it.
//!
//! The service holds the database open and no key at all. Each request brings an index key, or a
//! user id and a user key, in its headers; the handler opens the index without a key, passes the
//! caller's for one call on a blocking thread, and drops it. Run it behind TLS.
//!
//! ```text
//! cargo run --release --example service -- DIRECTORY 127.0.0.1:8080
//! curl -H 'content-type: application/json' -H 'x-key: 64 hex digits' -H 'x-user: 32 hex digits' \
//!      -d '{"vector": [0.1, 0.2], "top_k": 3}' http://127.0.0.1:8080/indexes/notes/query
//! curl -H 'content-type: application/json' -H 'x-key: 64 hex digits' \
//!      -d '{"ids": ["a"]}' http://127.0.0.1:8080/indexes/notes/delete
//! ```

use axum::Router;
use axum::extract::{Json, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use sealvec::{Database, Error, Index, IndexKey, KeyContext, Options, UserKey};
use serde::Deserialize;
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(directory), Some(address)) = (arguments.next(), arguments.next()) else {
        return Err("usage: service DIRECTORY ADDRESS".into());
    };
    let database = Database::open(directory, Options::new())?;
    let service = Router::new()
        .route("/indexes/{name}/query", post(query))
        .route("/indexes/{name}/delete", post(delete))
        .with_state(database);
    let listener = tokio::net::TcpListener::bind(address).await?;
    axum::serve(listener, service).await?;
    Ok(())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QueryBody {
    vector: Vec<f32>,
    top_k: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeleteBody {
    ids: Vec<String>,
}

async fn query(
    State(database): State<Database>,
    Path(name): Path<String>,
    headers: HeaderMap,
    Json(body): Json<QueryBody>,
) -> Result<Json<Value>, Failure> {
    with_index(database, name, &headers, move |index| {
        let QueryBody { vector, top_k } = body;
        let hits = index.query(&vector).top_k(top_k).run()?;
        let version = hits.version.to_string();
        let hits: Vec<Value> =
            hits.into_iter().map(|hit| json!({"id": hit.id, "distance": hit.distance})).collect();
        Ok(json!({"hits": hits, "version": version}))
    })
    .await
}

async fn delete(
    State(database): State<Database>,
    Path(name): Path<String>,
    headers: HeaderMap,
    Json(body): Json<DeleteBody>,
) -> Result<Json<Value>, Failure> {
    with_index(database, name, &headers, move |index| {
        let report = index.delete(&body.ids)?;
        Ok(json!({
            "deleted": report.deleted,
            "missing": report.missing,
            "item_count": report.item_count,
            "etag": report.etag.to_string(),
        }))
    })
    .await
}

/// Takes the caller's key from the headers and runs one call under it on a blocking thread.
async fn with_index(
    database: Database,
    name: String,
    headers: &HeaderMap,
    call: impl FnOnce(&Index<'_>) -> sealvec::Result<Value> + Send + 'static,
) -> Result<Json<Value>, Failure> {
    let caller = caller(headers)?;
    let answer = tokio::task::spawn_blocking(move || {
        let index = database.open_index(&name)?;
        call(&index.with_key(&caller))
    });
    Ok(Json(answer.await.map_err(|_| Failure(None))??))
}

fn caller(headers: &HeaderMap) -> Result<KeyContext, Failure> {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let key = header("x-key").ok_or(Error::MissingKey)?;
    Ok(match header("x-user") {
        Some(user) => KeyContext::user(user.parse()?, UserKey::from_hex(key)?),
        None => KeyContext::root(IndexKey::from_hex(key)?),
    })
}

/// An error as a response: the status and code are the library's.
struct Failure(Option<Error>);

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(Some(error))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, code, message) = match &self.0 {
            Some(error) => (error.http_status(), error.code(), error.to_string()),
            None => (500, "internal", "the call did not finish".to_owned()),
        };
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(json!({"error": {"code": code, "message": message}}))).into_response()
    }
}
