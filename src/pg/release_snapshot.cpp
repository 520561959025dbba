#include "pg/release_snapshot.hpp"

namespace saga::pg {

namespace {

/// The query of the client, when this function is called straight from it and it reads no table; else nullptr.
QueryDesc *releasable_query() {
  const Portal portal = ActivePortal;
  if (portal == nullptr || portal->strategy != PORTAL_ONE_SELECT || portal->queryDesc == nullptr) return nullptr;
  QueryDesc *query = portal->queryDesc;
  const PlannedStmt *plan = query->plannedstmt;
  if (plan == nullptr || plan->relationOids != NIL || plan->hasModifyingCTE || query->estate == nullptr) return nullptr;
  // An error inside a subtransaction would leave the query alive without its snapshots.
  if (GetCurrentTransactionNestLevel() != 1 || !ActiveSnapshotSet()) return nullptr;
  // Another active snapshot: the caller is a function of the query.
  if (GetActiveSnapshot() != query->snapshot || query->estate->es_snapshot != query->snapshot) return nullptr;
  if (query->crosscheck_snapshot != InvalidSnapshot || query->estate->es_crosscheck_snapshot != InvalidSnapshot)
    return nullptr;
  return query;
}

}  // namespace

SnapshotRelease::SnapshotRelease() {
  QueryDesc *query = call([] { return releasable_query(); });
  if (query == nullptr) return;
  call([&] {
    PopActiveSnapshot();
    UnregisterSnapshot(query->estate->es_snapshot);
    query->estate->es_snapshot = InvalidSnapshot;
    UnregisterSnapshot(query->snapshot);
    query->snapshot = InvalidSnapshot;
    InvalidateCatalogSnapshot();
  });
  query_ = query;
}

void SnapshotRelease::end() {
  if (query_ == nullptr) return;
  call([&] {
    query_->snapshot = RegisterSnapshot(GetTransactionSnapshot());
    query_->estate->es_snapshot = RegisterSnapshot(query_->snapshot);
    PushActiveSnapshot(query_->snapshot);
  });
  query_ = nullptr;
}

}  // namespace saga::pg
