// wait_for_event and wait_until_idle: they sleep until a worker has made progress, look again with a fresh snapshot,
// and never hold the one that they came with longer than they must.
#include "api/events.hpp"
#include "api/function.hpp"
#include "pg/clock.hpp"
#include "pg/identity.hpp"
#include "pg/release_snapshot.hpp"
#include "worker/activity.hpp"

namespace saga::api {

namespace {

constexpr long kSleepMaxMs = 200;  // a progress that nobody announced costs this delay

int waits_held = 0;  // of this process

extern "C" {
/// A process that is terminated while it waits takes its count along.
static void saga_forget_waits(int, Datum) {
  if (waits_held == 0 || !worker::shared_state_ready()) return;
  worker::DatabaseEntry *entry = worker::database_entry(MyDatabaseId, false);
  if (entry != nullptr) pg_atomic_fetch_sub_u32(&entry->waiters, waits_held);
  waits_held = 0;
}
}

/// Counts as a waiting session while it lives, so that workers announce their progress.
class Waiter {
 public:
  Waiter() {
    (void)worker::shared_state();
    entry_ = worker::database_entry(MyDatabaseId, true);
    if (entry_ == nullptr) {
      throw pg::Error{ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
                      "no room for another database with pg_saga",
                      {},
                      "Drop the extension where it is not needed and restart the server."};
    }
    static bool registered = false;
    if (!registered) {
      pg::call([] { before_shmem_exit(saga_forget_waits, Datum{0}); });
      registered = true;
    }
    ++waits_held;
    pg_atomic_fetch_add_u32(&entry_->waiters, 1);
  }
  ~Waiter() {
    ConditionVariableCancelSleep();
    pg_atomic_fetch_sub_u32(&entry_->waiters, 1);
    --waits_held;
  }
  Waiter(const Waiter &) = delete;
  Waiter &operator=(const Waiter &) = delete;

  /// Before looking: what happens after this call ends the next sleep.
  void prepare() {
    pg::call([&] { ConditionVariablePrepareToSleep(&entry_->progressed); });
  }
  void sleep(long ms) {
    pg::call([&] {
      (void)ConditionVariableTimedSleep(&entry_->progressed, ms, PG_WAIT_EXTENSION);
      CHECK_FOR_INTERRUPTS();
    });
  }

 private:
  worker::DatabaseEntry *entry_ = nullptr;
};

void refuse_fixed_snapshot(const char *function) {
  if (!IsolationUsesXactSnapshot()) return;
  throw pg::Error{ERRCODE_ACTIVE_SQL_TRANSACTION,
                  std::string(function) + "() cannot run in a REPEATABLE READ or SERIALIZABLE transaction",
                  "Its snapshot would never show what others do.", "Call it in a READ COMMITTED transaction."};
}

class Deadline {
 public:
  explicit Deadline(const Interval &timeout) {
    const std::int64_t micros = pg::interval_micros(timeout);
    if (micros < 0) throw pg::Error{pg::kInvalidOption, "timeout must not be negative", {}, "Pass for instance '30s'."};
    constexpr std::int64_t kLongest = std::int64_t{100} * 365 * 86'400 * 1'000'000;
    left_us_ = std::min(micros, kLongest);
    end_us_ = pg::monotonic_us() + left_us_;
    wall_ = GetCurrentTimestamp() + left_us_;
  }
  /// Milliseconds of the next sleep; 0: the time is up.
  [[nodiscard]] long next_sleep_ms() const noexcept {
    const std::int64_t left = end_us_ - pg::monotonic_us();
    return left <= 0 ? 0 : std::min<long>(kSleepMaxMs, static_cast<long>(left / 1000) + 1);
  }
  [[nodiscard]] TimestampTz wall() const noexcept { return wall_; }

 private:
  std::int64_t left_us_ = 0;
  std::int64_t end_us_ = 0;
  TimestampTz wall_ = 0;
};

/// Asks again after every progress until it is answered. nullopt: the time was up.
template <typename Ask>
auto wait_until(const Deadline &deadline, Ask &&ask) -> decltype(ask()) {
  pg::SnapshotRelease released;
  Waiter waiter;
  for (;;) {
    waiter.prepare();
    auto answer = released.with_snapshot(ask);
    const long ms = deadline.next_sleep_ms();
    if (answer || ms == 0) {
      released.end();
      return answer;
    }
    waiter.sleep(ms);
  }
}

bool is_final(const std::string &status) {
  return status != "RECEIVED" && status != "PROCESSING" && status != "PENDING";
}

[[noreturn]] void nobody_wants_it(const std::string &given, const std::optional<std::string> &group) {
  throw pg::Error{pg::kUnknownConsumerGroup,
                  group ? "consumer group " + pg::quoted(*group) + " is not to receive event " + pg::quoted(given)
                        : "no consumer group is to receive event " + pg::quoted(given),
                  "A group receives the events of its types that were published after it had started.",
                  "See saga.event_status(); saga.seek() moves a group back."};
}

/// The answer, or nullopt: not yet.
std::optional<std::string> outcome_now(const domain::Uuid &id, const std::string &given,
                                       const std::optional<std::string> &group) {
  pg::OwnerScope owner;
  pg::Spi spi;
  const auto known = store::find_event(id);
  if (known && known->place == store::EventPlace::Staged) return std::nullopt;
  if (known && known->place == store::EventPlace::Invalid) return "INVALID";
  bool wanted = false;
  bool waiting = false;
  for (const store::GroupState &state : store::states_of(id, group)) {
    if (state.status == "NOT_DELIVERED") continue;
    wanted = true;
    if (!is_final(state.status)) {
      waiting = true;
    } else if (state.status != "PROCESSED") {
      return state.status;
    }
  }
  if (!wanted) nobody_wants_it(given, group);
  if (waiting) return std::nullopt;
  return "PROCESSED";
}

/// A worker that runs a handler of these groups now.
bool any_running(std::optional<int> topic_id, std::optional<int> subscription_id) {
  for (const worker::Activity &one : worker::activity()) {
    if (!one.running || (topic_id && one.topic_id != *topic_id)) continue;
    if (!subscription_id || one.subscription_id == *subscription_id) return true;
  }
  return false;
}

store::Topic readable_topic(const std::string &name) {
  store::Topic topic = store::topic(name);
  const auto readable = store::readable_topics(GetUserId());
  for (const int id : readable) {
    if (id == topic.id) return topic;
  }
  throw pg::Error{ERRCODE_INSUFFICIENT_PRIVILEGE,
                  "permission denied for topic " + pg::quoted(name),
                  {},
                  "Ask for a right on it: saga.grant_topic()."};
}

}  // namespace

SAGA_FUNCTION(saga_wait_for_event) {
  const Args args{fcinfo};
  const std::string given = args.text(0, "event_id");
  const Deadline deadline{args.interval(1, "timeout")};
  const auto group = args.optional_text(2);
  refuse_fixed_snapshot("wait_for_event");
  const ReadableEvent event = readable_event(given);
  const FullTransactionId own = GetTopFullTransactionIdIfAny();
  if (FullTransactionIdIsValid(own) && event.known.xid == U64FromFullTransactionId(own)) {
    throw pg::Error{ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                    "event " + pg::quoted(given) + " was published by this transaction, which is still open",
                    "Consumer groups see it when it is committed.", "COMMIT first."};
  }
  if (const store::Topic *topic = store::topic_by_id(event.known.topic_id); group && topic != nullptr) {
    (void)store::subscription(*topic, *group);  // throws when there is no such group
  }
  const auto outcome = wait_until(deadline, [&] { return outcome_now(event.id, given, group); });
  return pg::text_datum(outcome.value_or("timeout"));
}

SAGA_FUNCTION(saga_wait_until_idle) {
  const Args args{fcinfo};
  const auto topic_name = args.optional_text(0);
  const auto group = args.optional_text(1);
  const Deadline deadline{args.interval(2, "timeout")};
  refuse_fixed_snapshot("wait_until_idle");
  std::optional<int> topic_id;
  std::optional<int> subscription_id;
  if (topic_name) {
    const store::Topic topic = readable_topic(*topic_name);
    topic_id = topic.id;
    if (group) subscription_id = store::subscription(topic, *group).id;
  }
  const auto idle = wait_until(deadline, [&]() -> std::optional<bool> {
    if (any_running(topic_id, subscription_id)) return std::nullopt;
    pg::OwnerScope owner;
    pg::Spi spi;
    if (store::any_work(topic_id, group, deadline.wall())) return std::nullopt;
    return true;
  });
  return BoolGetDatum(idle.value_or(false));
}

}  // namespace saga::api
