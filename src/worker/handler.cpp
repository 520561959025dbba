#include "worker/handler.hpp"

#include "pg/clock.hpp"
#include "pg/compat.hpp"
#include "pg/identity.hpp"
#include "pg/memory.hpp"
#include "pg/settings.hpp"
#include "store/current_event.hpp"
#include "worker/fault_points.hpp"

namespace saga::worker {

namespace {

WorkerSlot *my_slot = nullptr;
std::uint64_t event_numbers = 0;
std::int64_t snooze_us = 0;
bool utility_left_traces = false;
volatile sig_atomic_t plain_cancel = 0;  // pg_cancel_backend, which names no event

constinit pg::Statement kResolve{
    "SELECT p.oid::int8, p.prorettype = 'pg_catalog.jsonb'::pg_catalog.regtype, r.rolname::text"
    "  FROM pg_catalog.pg_proc p LEFT JOIN pg_catalog.pg_roles r ON r.oid = p.proowner"
    " WHERE p.oid = pg_catalog.to_regprocedure($1)"};

bool is_stop_for(const WorkerSlot &slot, std::uint64_t number) noexcept {
  auto &s = const_cast<WorkerSlot &>(slot);
  return number != 0 && pg_atomic_read_u64(&s.stop_event) == number;
}

extern "C" {
/// A stop that names an event which has ended meanwhile must not hit the next one.
static void saga_cancel_handler(int) {
  const int saved_errno = errno;
  const std::uint64_t running = my_slot == nullptr ? 0 : pg_atomic_read_u64(&my_slot->event_number);
  const bool addressed = my_slot != nullptr && pg_atomic_read_u32(&my_slot->stop_reason) != 0;
  if (running != 0 && (!addressed || is_stop_for(*my_slot, running))) {
    if (!addressed) plain_cancel = 1;
    InterruptPending = true;
    QueryCancelPending = true;
  }
  SetLatch(MyLatch);
  errno = saved_errno;
}
}

/// Makes the running event visible to the supervisor for a scope. Cancels reach the handler only inside it.
class RunScope {
 public:
  RunScope(WorkerSlot &slot, const RunningEvent &event) : slot_(slot) {
    slot.subscription_id = event.subscription_id;
    slot.partition = event.partition;
    slot.event_id = event.id;
    slot.event_position = event.position;
    slot.attempt = event.attempt;
    slot.started_at = GetCurrentTimestamp();
    number_ = ++event_numbers;
    started_us_ = pg::monotonic_us();
    pg_atomic_write_u32(&slot.stop_reason, 0);
    pg_atomic_write_u64(&slot.stop_event, 0);
    plain_cancel = 0;
    pg_atomic_write_u64(&slot.deadline_us, static_cast<std::uint64_t>(started_us_ + event.timeout_us));
    pg_write_barrier();
    pg_atomic_write_u64(&slot.event_number, number_);
    QueryCancelHoldoffCount = 0;
  }
  ~RunScope() {
    pg_atomic_write_u64(&slot_.event_number, 0);
    QueryCancelHoldoffCount = 1;
    QueryCancelPending = false;
  }
  RunScope(const RunScope &) = delete;
  RunScope &operator=(const RunScope &) = delete;

  [[nodiscard]] std::int64_t elapsed_us() const noexcept { return pg::monotonic_us() - started_us_; }
  [[nodiscard]] TimestampTz started_at() const noexcept { return slot_.started_at; }
  [[nodiscard]] domain::Cause cause_of_cancel() const noexcept {
    if (!stopped()) return plain_cancel != 0 ? domain::Cause::Interruption : domain::Cause::Error;
    const auto reason = static_cast<StopReason>(pg_atomic_read_u32(&slot_.stop_reason));
    return reason == StopReason::Operator ? domain::Cause::OperatorCancel : domain::Cause::TimeLimit;
  }
  [[nodiscard]] bool stopped() const noexcept { return is_stop_for(slot_, number_); }

 private:
  WorkerSlot &slot_;
  std::uint64_t number_ = 0;
  std::int64_t started_us_ = 0;
};

store::AttemptError describe(const pg::Error &error) {
  return {error.sqlstate_text(), error.message(), error.detail(), error.hint(), error.context()};
}

}  // namespace

void install_cancel_handler(WorkerSlot &slot) {
  my_slot = &slot;
  QueryCancelHoldoffCount = 1;  // engine statements are not cancelled
  pqsignal(SIGINT, saga_cancel_handler);
}

void request_snooze(std::int64_t micros) noexcept { snooze_us = micros; }

Handler Handler::resolve(const store::Subscription &subscription) {
  Oid function = InvalidOid;
  bool returns_result = false;
  {
    pg::OwnerScope owner;
    pg::Spi spi;
    const pg::Rows rows = pg::run(kResolve, {pg::param(std::string_view(subscription.handler))});
    if (rows.empty()) {
      throw pg::Error{pg::kInvalidHandler,
                      "handler " + subscription.handler + " does not exist",
                      {},
                      "Create it, or name another one with saga.alter_subscription()."};
    }
    function = static_cast<Oid>(rows[0].i64(1));
    returns_result = rows[0].boolean(2);
    const std::string owner_now = rows[0].optional_text(3).value_or("");
    if (owner_now != subscription.handler_owner) {
      throw pg::Error{pg::kInvalidHandler, "handler " + subscription.handler + " has another owner now: " + owner_now,
                      "It was subscribed when " + subscription.handler_owner + " owned it.",
                      "Confirm it with saga.alter_subscription(..., handler => ...)."};
    }
  }
  if (pg::call([&] { return pg::compat::function_execute_right(function, GetUserId()); }) != ACLCHECK_OK) {
    throw pg::Error{ERRCODE_INSUFFICIENT_PRIVILEGE,
                    "role " + pg::quoted(subscription.run_as) + " may not execute " + subscription.handler,
                    {},
                    "GRANT EXECUTE ON FUNCTION " + subscription.handler + " TO " + subscription.run_as + "."};
  }
  return Handler{function, returns_result};
}

void Handler::prepare() {
  pg::call([&] { fmgr_info_cxt(function_, &call_info_, TopTransactionContext); });
}

std::optional<Datum> Handler::invoke(const RunningEvent &event) {
  bool null = false;
  const Datum value = pg::call([&] {
    CommandCounterIncrement();
    PushActiveSnapshot(GetTransactionSnapshot());
    LOCAL_FCINFO(fcinfo, 1);
    InitFunctionCallInfoData(*fcinfo, &call_info_, 1, InvalidOid, nullptr, nullptr);
    fcinfo->args[0].value = event.event;
    fcinfo->args[0].isnull = false;
    const Datum returned = FunctionCallInvoke(fcinfo);
    null = fcinfo->isnull;
    PopActiveSnapshot();
    return returned;
  });
  if (null || !returns_result_) return std::nullopt;
  const auto limit = static_cast<std::size_t>(pg::settings::max_result_kb) * 1024;
  const std::size_t size = pg::call([&] { return toast_raw_datum_size(value); });
  if (size > limit) {
    throw pg::Error{
        ERRCODE_PROGRAM_LIMIT_EXCEEDED,
        "result of the handler has " + std::to_string(size) + " bytes, the limit is " + std::to_string(limit),
        {},
        "Store it in a table, or raise saga.max_result_size."};
  }
  return value;
}

HandlerResult Handler::call(WorkerSlot &slot, const RunningEvent &event) {
  HandlerResult outcome;
  RunScope run{slot, event};
  const store::CurrentEvent current{event.event, event.depth, event.external_id};
  store::CurrentEventScope current_scope{current};
  snooze_us = 0;
  outcome.started_at = run.started_at();
  try {
    SAGA_FAULT_POINT("before_handler");
    pg::SettingsScope settings;
    outcome.result = invoke(event);
    if (run.stopped()) {
      // It swallowed the cancel: what it did counts for nothing.
      throw pg::Error{ERRCODE_QUERY_CANCELED, "handler ran past its time limit and caught the cancel"};
    }
    outcome.ok = true;
    SAGA_FAULT_POINT("after_handler");
  } catch (const pg::Error &error) {
    outcome.error = describe(error);
    if (error.code() == ERRCODE_QUERY_CANCELED) outcome.cause = run.cause_of_cancel();
    outcome.snooze = domain::Millis{snooze_us / 1000};
  }
  outcome.processing_us = run.elapsed_us();
  return outcome;
}

bool session_is_dirty() {
  return utility_left_traces || (static_cast<unsigned>(MyXactFlags) & XACT_FLAGS_ACCESSEDTEMPNAMESPACE) != 0 ||
         pg::compat::holds_advisory_lock();
}

void note_utility_statement(const Node *statement) noexcept {
  switch (nodeTag(statement)) {
    case T_PrepareStmt:
    case T_ListenStmt:
    case T_LoadStmt:
      utility_left_traces = true;
      break;
    case T_DeclareCursorStmt:
      if ((reinterpret_cast<const DeclareCursorStmt *>(statement)->options & CURSOR_OPT_HOLD) != 0) {
        utility_left_traces = true;
      }
      break;
    default:
      break;
  }
}

void reset_session() {
  pg::Transaction transaction;
  pg::call([] {
    PortalHashTableDeleteAll();
    DropAllPreparedStatements();
    Async_UnlistenAll();
    LockReleaseAll(USER_LOCKMETHOD, true);
    ResetTempTableNamespace();
  });
  transaction.commit();
  utility_left_traces = false;
}

void force_deferred_constraints() {
  pg::call([] {
    ConstraintsSetStmt *all = makeNode(ConstraintsSetStmt);
    all->constraints = NIL;
    all->deferred = false;
    PushActiveSnapshot(GetTransactionSnapshot());
    AfterTriggerSetState(all);
    PopActiveSnapshot();
  });
}

}  // namespace saga::worker
