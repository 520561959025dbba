#include "pg/transaction.hpp"

namespace saga::pg {

namespace {

/// Runs a clean-up that must not fail; if it does, the process cannot go on.
template <typename F>
void or_die(F &&cleanup, const char *what) noexcept {
  try {
    call(cleanup);
  } catch (...) {
    ereport(FATAL, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("pg_saga could not %s", what)));
  }
}

int server_level(Isolation isolation) noexcept {
  switch (isolation) {
    case Isolation::RepeatableRead:
      return XACT_REPEATABLE_READ;
    case Isolation::Serializable:
      return XACT_SERIALIZABLE;
    case Isolation::ReadCommitted:
      break;
  }
  return XACT_READ_COMMITTED;
}

}  // namespace

Transaction::Transaction(Isolation isolation) : outer_(CurrentMemoryContext) {
  call([&] {
    SetCurrentStatementStartTimestamp();
    StartTransactionCommand();
    // What ALTER DATABASE chose for the session must not bend our transactions.
    XactIsoLevel = server_level(isolation);
    XactReadOnly = false;
    XactDeferrable = false;
    PushActiveSnapshot(GetTransactionSnapshot());
  });
}

Transaction::~Transaction() {
  if (!open_) return;
  or_die(
      [] {
        HOLD_INTERRUPTS();
        AbortCurrentTransaction();
        RESUME_INTERRUPTS();
      },
      "roll back a transaction");
  MemoryContextSwitchTo(outer_);
}

void Transaction::refresh_snapshot() {
  call([] {
    PopActiveSnapshot();
    PushActiveSnapshot(GetTransactionSnapshot());
  });
}

void Transaction::commit() {
  call([] {
    if (ActiveSnapshotSet()) PopActiveSnapshot();
    CommitTransactionCommand();
  });
  open_ = false;
  MemoryContextSwitchTo(outer_);
}

Subtransaction::Subtransaction() : memory_(CurrentMemoryContext), owner_(CurrentResourceOwner) {
  call([] { BeginInternalSubTransaction(nullptr); });
  MemoryContextSwitchTo(memory_);
}

Subtransaction::~Subtransaction() {
  if (!open_) return;
  or_die([] { RollbackAndReleaseCurrentSubTransaction(); }, "roll back a subtransaction");
  MemoryContextSwitchTo(memory_);
  CurrentResourceOwner = owner_;
}

void Subtransaction::commit() {
  call([] { ReleaseCurrentSubTransaction(); });
  open_ = false;
  MemoryContextSwitchTo(memory_);
  CurrentResourceOwner = owner_;
}

void Subtransaction::rollback() {
  open_ = false;
  call([] { RollbackAndReleaseCurrentSubTransaction(); });
  MemoryContextSwitchTo(memory_);
  CurrentResourceOwner = owner_;
}

int subtransaction_count() noexcept {
  const auto &status = MyProc->subxidStatus;
  return status.overflowed ? PGPROC_MAX_CACHED_SUBXIDS : status.count;
}

}  // namespace saga::pg
