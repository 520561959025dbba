#include "worker/wakeup.hpp"

#include "pg/compat.hpp"
#include "pg/guard.hpp"
#include "worker/handler.hpp"
#include "worker/processes.hpp"

namespace saga::worker {

namespace {

constexpr std::uint32_t kMarksMax = 256;  // more distinct partitions than that mark everything

struct Mark {
  int topic_id;
  std::int16_t partition;
};

// What the current transaction has to announce. Plain memory: the callback must not allocate.
struct Pending {
  bool published;
  bool everything;
  bool config;
  std::uint32_t count;
  Mark marks[kMarksMax];
};

Pending pending{};
DatabaseEntry *my_database = nullptr;
Oid my_database_oid = InvalidOid;
ProcessUtility_hook_type previous_utility_hook = nullptr;

void clear() noexcept {
  pending.published = false;
  pending.everything = false;
  pending.config = false;
  pending.count = 0;
}

/// Found before the commit, where an error is still allowed.
void find_my_database() {
  if (my_database != nullptr && my_database_oid == MyDatabaseId && my_database->database == MyDatabaseId) return;
  my_database = database_entry(MyDatabaseId, true);
  my_database_oid = MyDatabaseId;
}

/// One idle worker per role: each role's lanes are served by its own processes only.
bool wake_one_worker_per_role(SharedState &s) noexcept {
  Oid woken[16];
  int woken_count = 0;
  bool any_asleep = false;
  for (WorkerSlot &w : s.workers) {
    if (w.database != MyDatabaseId || w.state == WorkerState::Free) continue;
    if (pg_atomic_read_u32(&w.asleep) == 0) continue;
    bool seen = false;
    for (int i = 0; i < woken_count; ++i) seen = seen || woken[i] == w.role;
    if (seen) continue;
    if (pg_atomic_exchange_u32(&w.asleep, 0) == 0) continue;
    any_asleep = true;
    if (woken_count < 16) woken[woken_count++] = w.role;
    set_latch_of(w.process);
  }
  return any_asleep;
}

void announce() noexcept {
  SharedState &s = shared_state_unchecked();
  if (pending.everything || pending.config) pg_atomic_fetch_add_u64(&s.everything, 1);
  for (std::uint32_t i = 0; i < pending.count; ++i) {
    const Mark &mark = pending.marks[i];
    pg_atomic_fetch_add_u64(&s.published[counter_of(MyDatabaseId, mark.topic_id, mark.partition)], 1);
    pg_atomic_fetch_add_u64(&s.published[counter_of(MyDatabaseId, mark.topic_id, kTopicLane)], 1);
  }
  if (my_database == nullptr) return;
  if (pending.config) pg_atomic_fetch_add_u32(&my_database->config_version, 1);
  if (pending.published) pg_atomic_fetch_add_u64(&my_database->published, 1);
  pg_memory_barrier();
  const bool woken = wake_one_worker_per_role(s);
  const bool engine_asleep = pg_atomic_exchange_u32(&my_database->engine_asleep, 0) == 1;
  const bool wanted = !woken && pg_atomic_exchange_u32(&my_database->workers_wanted, 1) == 0;
  if (engine_asleep || wanted || pending.config) set_latch_of(my_database->engine_process);
  if (my_database->engine_process < 0) set_latch_of(s.launcher_process);
}

/// Our processes must not stand in the way of DROP DATABASE, RENAME or CREATE DATABASE ... TEMPLATE.
void leave_affected_database(Node *statement) {
  const char *name = nullptr;
  if (IsA(statement, DropdbStmt)) name = reinterpret_cast<DropdbStmt *>(statement)->dbname;
  if (IsA(statement, RenameStmt) && reinterpret_cast<RenameStmt *>(statement)->renameType == OBJECT_DATABASE) {
    name = reinterpret_cast<RenameStmt *>(statement)->subname;
  }
  if (IsA(statement, CreatedbStmt)) {
    ListCell *cell = nullptr;
    foreach (cell, reinterpret_cast<CreatedbStmt *>(statement)->options) {
      auto *option = lfirst_node(DefElem, cell);
      if (std::strcmp(option->defname, "template") == 0 && option->arg != nullptr) name = defGetString(option);
    }
  }
  if (name == nullptr) return;
  const Oid database = get_database_oid(name, true);
  if (OidIsValid(database) && pg::compat::owns_database(database, GetUserId())) leave_database(database);
}

bool has_news() noexcept { return pending.published || pending.everything || pending.config; }

extern "C" {

static void saga_xact_callback(XactEvent event, void *) {
  if (!has_news()) return;
  switch (event) {
    case XACT_EVENT_COMMIT:
      // News of settings must not overtake the invalidation messages, which are sent a little later.
      if (pending.config) break;
      announce();
      clear();
      break;
    case XACT_EVENT_PREPARE:  // COMMIT PREPARED marks everything: it may run in any session
    case XACT_EVENT_ABORT:
      clear();
      break;
    default:
      break;
  }
}

static void saga_release_callback(ResourceReleasePhase phase, bool is_commit, bool is_top_level, void *) {
  if (phase != RESOURCE_RELEASE_AFTER_LOCKS || !is_commit || !is_top_level || !pending.config) return;
  announce();
  clear();
}

static void saga_process_utility(PlannedStmt *statement, const char *query, bool read_only_tree,
                                 ProcessUtilityContext context, ParamListInfo params, QueryEnvironment *environment,
                                 DestReceiver *destination, QueryCompletion *completion) {
  leave_affected_database(statement->utilityStmt);
  note_utility_statement(statement->utilityStmt);
  if (previous_utility_hook != nullptr) {
    previous_utility_hook(statement, query, read_only_tree, context, params, environment, destination, completion);
  } else {
    standard_ProcessUtility(statement, query, read_only_tree, context, params, environment, destination, completion);
  }
  if (!IsA(statement->utilityStmt, TransactionStmt)) return;
  if (reinterpret_cast<TransactionStmt *>(statement->utilityStmt)->kind != TRANS_STMT_COMMIT_PREPARED) return;
  // The prepared transaction is committed already; this announces it with the end of the running one.
  find_my_database();
  pending.published = true;
  pending.everything = true;
  pending.config = true;  // it may have subscribed
}

}  // extern "C"

}  // namespace

void install_wakeup() {
  RegisterXactCallback(saga_xact_callback, nullptr);
  RegisterResourceReleaseCallback(saga_release_callback, nullptr);
  previous_utility_hook = ProcessUtility_hook;
  ProcessUtility_hook = saga_process_utility;
}

void mark_published(int topic_id, std::int16_t partition) {
  if (!pending.published) find_my_database();
  pending.published = true;
  for (std::uint32_t i = pending.count; i-- > 0;) {
    if (pending.marks[i].topic_id == topic_id && pending.marks[i].partition == partition) return;
  }
  if (pending.count == kMarksMax) {
    pending.everything = true;
    return;
  }
  pending.marks[pending.count++] = Mark{topic_id, partition};
}

void mark_everything() {
  find_my_database();
  pending.everything = true;
}

void mark_config_changed() {
  find_my_database();
  pending.config = true;
}

void announce_progress(DatabaseEntry &database) noexcept {
  if (pg_atomic_read_u32(&database.waiters) > 0) ConditionVariableBroadcast(&database.progressed);
}

}  // namespace saga::worker
