//! Which items: filters, orders and attributes on the command line.

use clap::Args;
use sealvec::{Attribute, Filter, IndexConfig, Order};

use super::Acting;
use crate::help;
use crate::output::Format;

/// Only some items.
#[derive(Debug, Args)]
pub(crate) struct Where {
    /// Only items whose metadata this filter selects, as in '{"pos":"noun"}'; see docs/filters.md
    #[arg(long = "where", value_name = "FILTER", value_parser = filter)]
    pub(crate) filter: Option<Filter>,
}

#[derive(Debug, Args)]
#[command(after_help = help::COUNT)]
pub(crate) struct Count {
    /// The name of the index
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) only: Where,
    /// How the answer is written
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: Format,
    #[command(flatten)]
    pub(crate) acting: Acting,
}

/// What `create` says about the attribute index.
#[derive(Debug, Args)]
pub(crate) struct AttributeArgs {
    /// What the attribute index holds of one field; may be given many times
    #[arg(long = "attribute", value_name = "FIELD=equality|range|off", value_parser = declared)]
    declared: Vec<(String, Attribute)>,
    /// Keeps an attribute index only of the fields given by --attribute
    #[arg(long)]
    declared_attributes_only: bool,
}

impl AttributeArgs {
    pub(crate) fn add_to(&self, config: IndexConfig) -> IndexConfig {
        let config =
            if self.declared_attributes_only { config.declared_attributes_only() } else { config };
        self.declared.iter().fold(config, |config, (path, kind)| config.attribute(path, *kind))
    }
}

fn filter(text: &str) -> Result<Filter, String> {
    text.parse().map_err(|error: sealvec::Error| error.to_string())
}

fn declared(text: &str) -> Result<(String, Attribute), &'static str> {
    const FORM: &str = "an attribute is FIELD=equality, FIELD=range or FIELD=off";
    let (path, kind) = text.rsplit_once('=').ok_or(FORM)?;
    let kind = match kind {
        "off" => Attribute::Off,
        "equality" => Attribute::Equality,
        "range" => Attribute::Range,
        _ => return Err(FORM),
    };
    Ok((path.to_owned(), kind))
}

/// A field to put items in order by, and which way.
pub(crate) fn order(text: &str) -> Result<(String, Order), &'static str> {
    match text.rsplit_once(':') {
        None => Ok((text.to_owned(), Order::Ascending)),
        Some((path, "asc")) => Ok((path.to_owned(), Order::Ascending)),
        Some((path, "desc")) => Ok((path.to_owned(), Order::Descending)),
        Some(_) => Err("an order is FIELD, FIELD:asc or FIELD:desc"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_and_orders_are_read() {
        assert_eq!(declared("a.b=range"), Ok(("a.b".to_owned(), Attribute::Range)));
        assert_eq!(declared("a=b=off"), Ok(("a=b".to_owned(), Attribute::Off)));
        for bad in ["a", "a=", "a=ranges", ""] {
            assert!(declared(bad).is_err(), "{bad}");
        }
        assert_eq!(order("year"), Ok(("year".to_owned(), Order::Ascending)));
        assert_eq!(order("a.b:desc"), Ok(("a.b".to_owned(), Order::Descending)));
        assert!(order("year:down").is_err());
    }
}
