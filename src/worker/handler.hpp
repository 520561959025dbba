// Calling a handler: resolved once, checked as its role, run with a time limit, without leaving a trace in the
// session. A failure is a value; only what is nobody's fault (shutdown) is thrown.
#pragma once

#include "store/subscriptions.hpp"
#include "store/tracking.hpp"
#include "worker/shared_state.hpp"

namespace saga::worker {

/// What the supervisor and the operator see of a run.
struct RunningEvent {
  int subscription_id;
  std::int16_t partition;
  domain::Uuid id;
  domain::Position position;
  int attempt;
  std::int16_t depth;
  std::int64_t timeout_us;
  Datum event;  // saga.event
  std::optional<std::string_view> external_id;
};

struct HandlerResult {
  bool ok = false;
  std::optional<Datum> result;  // jsonb, in the memory that was current at the call
  std::int64_t processing_us = 0;
  TimestampTz started_at = 0;
  domain::Cause cause = domain::Cause::Error;
  domain::Millis snooze{0};
  store::AttemptError error;
};

class Handler {
 public:
  /// Looks the function up and checks that this session's role may execute it and that it is still the
  /// function that was subscribed. Throws pg::Error with the reason otherwise.
  static Handler resolve(const store::Subscription &subscription);

  /// At the start of each transaction that will call it.
  void prepare();

  /// Runs inside a subtransaction of the caller, which must be rolled back when the result is not ok.
  HandlerResult call(WorkerSlot &slot, const RunningEvent &event);

 private:
  Handler(Oid function, bool returns_result) : function_(function), returns_result_(returns_result) {}
  std::optional<Datum> invoke(const RunningEvent &event);

  Oid function_;
  bool returns_result_;
  FmgrInfo call_info_{};
};

/// Installs the SIGINT handler of a handler worker: a cancel that carries the number of another event is ignored.
void install_cancel_handler(WorkerSlot &slot);

/// How long the handler asked to snooze, in microseconds; set by saga.snooze just before it raises SG002.
void request_snooze(std::int64_t micros) noexcept;

/// Whether what ran last left something in the session that the next event must not see: temporary objects, held
/// cursors, prepared statements, session locks.
[[nodiscard]] bool session_is_dirty();

/// Called for every utility statement of this process.
void note_utility_statement(const Node *statement) noexcept;

/// Removes it all, in a transaction of its own.
void reset_session();

/// Checks deferred constraints now, while the session is still the handlers' role. Throws what they raise.
void force_deferred_constraints();

}  // namespace saga::worker
