// A file system for RocksDB that fails when it is told to.
//
// Two layers over the real one. The lower is RocksDB's own FaultInjectionTestFS: it keeps what was
// written but not synced in memory, so that it can be dropped, and can be switched off. The upper is
// here. It counts operations and fails the n-th; and it remembers what each file had when it was
// last synced and what came after, so that after a power cut the file can be left with any part of
// that: nothing, all, or a torn tail.

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <string>

#include "env/composite_env_wrapper.h"
#include "rocksdb/env.h"
#include "rocksdb/file_system.h"
#include "utilities/fault_injection_fs.h"

// As db/c.cc has it; `rocksdb_env_destroy` frees it.
struct rocksdb_env_t {
  rocksdb::Env* rep;
  bool is_default;
};

namespace {

using namespace rocksdb;

enum Kind : unsigned {
  kCreate = 1,
  kAppend = 2,
  kSync = 4,
  kName = 8,
  kDirectory = 16,
  kClose = 32,
  kRead = 64,
};

// What a file had when it was last synced, and what was written after.
struct Written {
  uint64_t synced = 0;
  std::string after;
};

struct State {
  std::shared_ptr<FaultInjectionTestFS> fs;
  std::mutex mutex;
  std::map<std::string, Written> files;
  bool cut = false;
  // The operation that fails, counted from 1; 0: none.
  uint64_t fails = 0;
  unsigned kinds = 0;
  // Whether those after it fail too.
  bool on = false;
  bool no_space = false;
  uint64_t count = 0;
  uint64_t failed = 0;

  // Whether an operation goes ahead.
  IOStatus Step(Kind kind, const std::string& what) {
    std::lock_guard<std::mutex> held(mutex);
    if ((kinds & kind) == 0) return IOStatus::OK();
    // RocksDB's own log of events is not part of a database.
    if (what.find("/LOG") != std::string::npos) return IOStatus::OK();
    ++count;
    if (fails == 0 || count < fails || (count > fails && !on)) return IOStatus::OK();
    ++failed;
    return no_space ? IOStatus::NoSpace("No space left on device, on purpose", what)
                    : IOStatus::IOError("Input/output error, on purpose", what);
  }
};

using Shared = std::shared_ptr<State>;

class File : public FSWritableFileOwnerWrapper {
 public:
  File(std::unique_ptr<FSWritableFile>&& file, std::string name, Shared state)
      : FSWritableFileOwnerWrapper(std::move(file)), name_(std::move(name)), state_(state) {}

  IOStatus Append(const Slice& data, const IOOptions& options, IODebugContext* dbg) override {
    IOStatus step = state_->Step(kAppend, name_);
    if (!step.ok()) {
      // A short write, as of a disk that fails in the middle.
      Slice half(data.data(), data.size() / 2);
      if (target()->Append(half, options, dbg).ok()) Note(half);
      return step;
    }
    IOStatus done = target()->Append(data, options, dbg);
    if (done.ok()) Note(data);
    return done;
  }
  IOStatus Append(const Slice& data, const IOOptions& options, const DataVerificationInfo&,
                  IODebugContext* dbg) override {
    return Append(data, options, dbg);
  }
  IOStatus Sync(const IOOptions& options, IODebugContext* dbg) override {
    return Reach(options, dbg, false);
  }
  IOStatus Fsync(const IOOptions& options, IODebugContext* dbg) override {
    return Reach(options, dbg, true);
  }
  IOStatus Close(const IOOptions& options, IODebugContext* dbg) override {
    IOStatus step = state_->Step(kClose, name_);
    IOStatus done = target()->Close(options, dbg);
    return step.ok() ? done : step;
  }

 private:
  void Note(const Slice& data) {
    std::lock_guard<std::mutex> held(state_->mutex);
    if (!state_->cut) state_->files[name_].after.append(data.data(), data.size());
  }
  IOStatus Reach(const IOOptions& options, IODebugContext* dbg, bool full) {
    IOStatus step = state_->Step(kSync, name_);
    if (!step.ok()) return step;
    IOStatus done = full ? target()->Fsync(options, dbg) : target()->Sync(options, dbg);
    std::lock_guard<std::mutex> held(state_->mutex);
    if (done.ok() && !state_->cut) {
      Written& written = state_->files[name_];
      written.synced += written.after.size();
      written.after.clear();
    }
    return done;
  }

  std::string name_;
  Shared state_;
};

class Sequential : public FSSequentialFileOwnerWrapper {
 public:
  Sequential(std::unique_ptr<FSSequentialFile>&& file, std::string name, Shared state)
      : FSSequentialFileOwnerWrapper(std::move(file)), name_(std::move(name)), state_(state) {}
  IOStatus Read(size_t n, const IOOptions& options, Slice* result, char* scratch,
                IODebugContext* dbg) override {
    IOStatus step = state_->Step(kRead, name_);
    return step.ok() ? FSSequentialFileWrapper::Read(n, options, result, scratch, dbg) : step;
  }

 private:
  std::string name_;
  Shared state_;
};

class Random : public FSRandomAccessFileOwnerWrapper {
 public:
  Random(std::unique_ptr<FSRandomAccessFile>&& file, std::string name, Shared state)
      : FSRandomAccessFileOwnerWrapper(std::move(file)), name_(std::move(name)), state_(state) {}
  IOStatus Read(uint64_t offset, size_t n, const IOOptions& options, Slice* result, char* scratch,
                IODebugContext* dbg) const override {
    IOStatus step = state_->Step(kRead, name_);
    if (!step.ok()) return step;
    return FSRandomAccessFileWrapper::Read(offset, n, options, result, scratch, dbg);
  }
  IOStatus MultiRead(FSReadRequest* requests, size_t count, const IOOptions& options,
                     IODebugContext* dbg) override {
    IOStatus step = state_->Step(kRead, name_);
    if (!step.ok()) return step;
    return FSRandomAccessFileWrapper::MultiRead(requests, count, options, dbg);
  }

 private:
  std::string name_;
  Shared state_;
};

class Directory : public FSDirectory {
 public:
  Directory(std::unique_ptr<FSDirectory>&& directory, std::string name, Shared state)
      : directory_(std::move(directory)), name_(std::move(name)), state_(state) {}
  IOStatus Fsync(const IOOptions& options, IODebugContext* dbg) override {
    IOStatus step = state_->Step(kDirectory, name_);
    return step.ok() ? directory_->Fsync(options, dbg) : step;
  }
  IOStatus FsyncWithDirOptions(const IOOptions& options, IODebugContext* dbg,
                               const DirFsyncOptions& how) override {
    IOStatus step = state_->Step(kDirectory, name_);
    return step.ok() ? directory_->FsyncWithDirOptions(options, dbg, how) : step;
  }
  IOStatus Close(const IOOptions& options, IODebugContext* dbg) override {
    return directory_->Close(options, dbg);
  }

 private:
  std::unique_ptr<FSDirectory> directory_;
  std::string name_;
  Shared state_;
};

class Failing : public FileSystemWrapper {
 public:
  explicit Failing(Shared state) : FileSystemWrapper(state->fs), state_(state) {}
  const char* Name() const override { return "SealvecFailing"; }

  IOStatus NewWritableFile(const std::string& name, const FileOptions& options,
                           std::unique_ptr<FSWritableFile>* file, IODebugContext* dbg) override {
    return Open(name, file, [&](auto* made) {
      return target()->NewWritableFile(name, options, made, dbg);
    });
  }
  IOStatus ReopenWritableFile(const std::string& name, const FileOptions& options,
                              std::unique_ptr<FSWritableFile>* file,
                              IODebugContext* dbg) override {
    return IOStatus::NotSupported("sealvec reopens no file");
  }
  IOStatus ReuseWritableFile(const std::string& name, const std::string& old,
                             const FileOptions& options, std::unique_ptr<FSWritableFile>* file,
                             IODebugContext* dbg) override {
    return IOStatus::NotSupported("sealvec recycles no log");
  }
  IOStatus NewSequentialFile(const std::string& name, const FileOptions& options,
                             std::unique_ptr<FSSequentialFile>* file,
                             IODebugContext* dbg) override {
    IOStatus step = state_->Step(kRead, name);
    if (!step.ok()) return step;
    std::unique_ptr<FSSequentialFile> made;
    IOStatus done = target()->NewSequentialFile(name, options, &made, dbg);
    if (done.ok()) file->reset(new Sequential(std::move(made), name, state_));
    return done;
  }
  IOStatus NewRandomAccessFile(const std::string& name, const FileOptions& options,
                               std::unique_ptr<FSRandomAccessFile>* file,
                               IODebugContext* dbg) override {
    IOStatus step = state_->Step(kRead, name);
    if (!step.ok()) return step;
    std::unique_ptr<FSRandomAccessFile> made;
    IOStatus done = target()->NewRandomAccessFile(name, options, &made, dbg);
    if (done.ok()) file->reset(new Random(std::move(made), name, state_));
    return done;
  }
  IOStatus NewDirectory(const std::string& name, const IOOptions& options,
                        std::unique_ptr<FSDirectory>* directory, IODebugContext* dbg) override {
    std::unique_ptr<FSDirectory> made;
    IOStatus done = target()->NewDirectory(name, options, &made, dbg);
    if (done.ok()) directory->reset(new Directory(std::move(made), name, state_));
    return done;
  }
  IOStatus RenameFile(const std::string& from, const std::string& to, const IOOptions& options,
                      IODebugContext* dbg) override {
    IOStatus step = state_->Step(kName, to);
    if (!step.ok()) return step;
    IOStatus done = target()->RenameFile(from, to, options, dbg);
    std::lock_guard<std::mutex> held(state_->mutex);
    if (done.ok() && !state_->cut) {
      auto found = state_->files.find(from);
      if (found != state_->files.end()) {
        state_->files[to] = std::move(found->second);
        state_->files.erase(from);
      }
    }
    return done;
  }
  IOStatus LinkFile(const std::string& from, const std::string& to, const IOOptions& options,
                    IODebugContext* dbg) override {
    IOStatus step = state_->Step(kName, to);
    return step.ok() ? target()->LinkFile(from, to, options, dbg) : step;
  }
  IOStatus DeleteFile(const std::string& name, const IOOptions& options,
                      IODebugContext* dbg) override {
    IOStatus step = state_->Step(kName, name);
    if (!step.ok()) return step;
    IOStatus done = target()->DeleteFile(name, options, dbg);
    std::lock_guard<std::mutex> held(state_->mutex);
    if (done.ok() && !state_->cut) state_->files.erase(name);
    return done;
  }

 private:
  template <typename Make>
  IOStatus Open(const std::string& name, std::unique_ptr<FSWritableFile>* file, Make make) {
    IOStatus step = state_->Step(kCreate, name);
    if (!step.ok()) return step;
    std::unique_ptr<FSWritableFile> made;
    IOStatus done = make(&made);
    if (!done.ok()) return done;
    {
      std::lock_guard<std::mutex> held(state_->mutex);
      if (!state_->cut) state_->files[name] = Written();
    }
    file->reset(new File(std::move(made), name, state_));
    return done;
  }

  Shared state_;
};

}  // namespace

struct sealvec_fault_fs {
  Shared state;
};

extern "C" {

// Puts the environment, which `rocksdb_env_destroy` frees, into `env`.
sealvec_fault_fs* sealvec_fault_fs_new(rocksdb_env_t** env) {
  auto state = std::make_shared<State>();
  state->fs = std::make_shared<FaultInjectionTestFS>(FileSystem::Default());
  state->fs->SetInjectUnsyncedDataLoss(true);
  state->fs->SetAllowLinkOpenFile(true);
  *env = new rocksdb_env_t{
      new CompositeEnvWrapper(Env::Default(), std::make_shared<Failing>(state)), false};
  return new sealvec_fault_fs{state};
}

void sealvec_fault_fs_free(sealvec_fault_fs* fs) { delete fs; }

void sealvec_fault_fs_fail(sealvec_fault_fs* fs, unsigned kinds, uint64_t nth, bool on,
                           bool no_space) {
  std::lock_guard<std::mutex> held(fs->state->mutex);
  fs->state->kinds = kinds;
  fs->state->fails = nth;
  fs->state->on = on;
  fs->state->no_space = no_space;
  fs->state->count = 0;
  fs->state->failed = 0;
}

uint64_t sealvec_fault_fs_count(sealvec_fault_fs* fs) {
  std::lock_guard<std::mutex> held(fs->state->mutex);
  return fs->state->count;
}

uint64_t sealvec_fault_fs_failed(sealvec_fault_fs* fs) {
  std::lock_guard<std::mutex> held(fs->state->mutex);
  return fs->state->failed;
}

// The power goes: nothing reaches the disk from now on.
void sealvec_fault_fs_cut(sealvec_fault_fs* fs) {
  {
    std::lock_guard<std::mutex> held(fs->state->mutex);
    fs->state->cut = true;
  }
  fs->state->fs->SetFilesystemActive(false, IOStatus::IOError("the power is off, on purpose"));
  fs->state->fs->DropUnsyncedFileData();
}

// What the disk has when the power is back, once the database is closed. `mode` 0: of each file
// what was synced; 1: also what was written after; 2: a part of that, which may end in a torn
// record; 3: such a part with its last byte changed; 4: as 0, and files whose directory was not
// synced are gone. Returns the number of bytes lost.
uint64_t sealvec_fault_fs_restore(sealvec_fault_fs* fs, int mode, uint64_t seed) {
  std::mt19937_64 random(seed);
  uint64_t lost = 0;
  std::lock_guard<std::mutex> held(fs->state->mutex);
  for (auto& [name, written] : fs->state->files) {
    std::error_code none;
    if (!std::filesystem::exists(name, none)) continue;
    std::string kept;
    if (mode == 1) kept = written.after;
    if (mode == 2 || mode == 3) {
      kept = written.after.substr(0, random() % (written.after.size() + 1));
      if (mode == 3 && !kept.empty()) kept.back() ^= 0x55;
    }
    lost += written.after.size() - kept.size();
    std::filesystem::resize_file(name, written.synced, none);
    std::ofstream(name, std::ios::binary | std::ios::app) << kept;
  }
  if (mode == 4) {
    fs->state->fs->SetFilesystemActive(true);
    fs->state->fs->DeleteFilesCreatedAfterLastDirSync(IOOptions(), nullptr)
        .PermitUncheckedError();
  }
  return lost;
}

}  // extern "C"
