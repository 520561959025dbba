// A function that waits for long must not hold back what vacuum may remove. Where the query that called it reads no
// table (SELECT saga.wait_for_event(...)), its snapshots are given back while the function runs and replaced by new
// ones at its end; any other query needs its snapshot and keeps it.
#pragma once

#include "pg/guard.hpp"

namespace saga::pg {

class SnapshotRelease {
 public:
  SnapshotRelease();
  ~SnapshotRelease() = default;
  SnapshotRelease(const SnapshotRelease &) = delete;
  SnapshotRelease &operator=(const SnapshotRelease &) = delete;

  /// New snapshots for the query. Must be called; only an error, which ends the transaction and with it the query,
  /// makes it needless.
  void end();

  /// Runs f with an active snapshot.
  template <typename F>
  auto with_snapshot(F &&f) -> decltype(f()) {
    if (query_ == nullptr) return f();
    call([] { PushActiveSnapshot(GetTransactionSnapshot()); });
    auto result = f();
    call([] {
      PopActiveSnapshot();
      InvalidateCatalogSnapshot();
    });
    return result;
  }

 private:
  QueryDesc *query_ = nullptr;  // nullptr: nothing was given back
};

}  // namespace saga::pg
