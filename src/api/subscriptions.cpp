// subscribe, alter_subscription, unsubscribe, seek, pause, resume: check the arguments and the caller's rights, change
// the rows, tell the commit.
#include <cmath>

#include "api/options.hpp"
#include "pg/identity.hpp"
#include "pg/notice.hpp"
#include "store/audit.hpp"
#include "store/handlers.hpp"
#include "store/installation.hpp"
#include "store/subscription_settings.hpp"
#include "worker/wakeup.hpp"

namespace saga::api {

namespace {

constexpr std::array kOrderings{"key", "topic", "none"};
constexpr std::array kIsolations{"read committed", "repeatable read", "serializable"};
constexpr std::array kOnExhausted{"continue", "halt"};
constexpr IntRange kConcurrency{1, 256};
constexpr IntRange kMaxAttempts{1, 1000};
constexpr std::int64_t kTenYearsUs = 3660 * kDayUs;
constexpr IntervalRange kDelay{1, "1 microsecond", kTenYearsUs, "10 years"};
constexpr IntervalRange kDelayOrNone{0, "0 (none)", kTenYearsUs, "10 years"};
constexpr IntervalRange kTimeout{10'000, "10 milliseconds", kTenYearsUs, "10 years"};

/// The options that subscribe and alter_subscription share stand at the same places of their argument lists.
enum Place : int {
  kEventTypes = 3,
  kOrdering,
  kConcurrencyPlace,
  kMaxAttemptsPlace,
  kBackoff,
  kMaxBackoff,
  kJitter,
  kTimeoutPlace,
  kMaxAge,
  kOnExhaustedPlace,
  kCircuit,
  kIsolation,
  kBusinessCritical
};

/// In subscribe an option must not be NULL; in a change NULL keeps what there is.
enum class Purpose : std::uint8_t { Create, Change };

bool given(const Args &args, Purpose purpose, int place, const char *name) {
  if (purpose == Purpose::Create) (void)args.datum(place, name);
  return !args.is_null(place);
}

std::optional<std::string> text_option(const Args &args, Purpose purpose, int place, const char *name) {
  if (!given(args, purpose, place, name)) return std::nullopt;
  return args.text(place, name);
}

std::optional<std::int32_t> int_option(const Args &args, Purpose purpose, int place, const char *name) {
  if (!given(args, purpose, place, name)) return std::nullopt;
  return args.i32(place, name);
}

std::optional<Interval> interval_option(const Args &args, Purpose purpose, int place, const char *name) {
  if (!given(args, purpose, place, name)) return std::nullopt;
  return args.interval(place, name);
}

void check_event_types(Datum array, Purpose purpose) {
  Datum *elements = nullptr;
  bool *nulls = nullptr;
  int count = 0;
  pg::call([&] {
    deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &count);
  });
  if (count == 0 && purpose == Purpose::Create) {
    invalid_option("event_types must not be empty", "Name the types to receive, or pass NULL to receive all.");
  }
  for (int i = 0; i < count; ++i) {
    if (nulls[i]) invalid_option("event_types must not contain NULL", "Name the types to receive.");
    check_name("event type", pg::to_string(elements[i]));
  }
}

store::SubscriptionOptions read_options(const Args &args, Purpose purpose) {
  store::SubscriptionOptions o;
  o.event_types = args.optional_datum(kEventTypes);
  o.ordering = text_option(args, purpose, kOrdering, "ordering");
  o.concurrency = int_option(args, purpose, kConcurrencyPlace, "concurrency");
  o.max_attempts = int_option(args, purpose, kMaxAttemptsPlace, "max_attempts");
  o.backoff = interval_option(args, purpose, kBackoff, "backoff");
  o.max_backoff = interval_option(args, purpose, kMaxBackoff, "max_backoff");
  if (given(args, purpose, kJitter, "jitter")) o.jitter = args.f64(kJitter, "jitter");
  o.timeout = interval_option(args, purpose, kTimeoutPlace, "timeout");
  if (!args.is_null(kMaxAge)) o.max_age = args.interval(kMaxAge, "max_age");
  o.on_exhausted = text_option(args, purpose, kOnExhaustedPlace, "on_exhausted");
  o.circuit = args.optional_text(kCircuit);
  o.isolation = text_option(args, purpose, kIsolation, "isolation");
  if (given(args, purpose, kBusinessCritical, "business_critical")) {
    o.business_critical = args.boolean(kBusinessCritical, "business_critical");
  }
  return o;
}

void check_options(const store::SubscriptionOptions &o, Purpose purpose) {
  if (o.event_types) check_event_types(*o.event_types, purpose);
  if (o.ordering) check_choice("ordering", *o.ordering, kOrderings);
  if (o.concurrency) check_range("concurrency", *o.concurrency, kConcurrency);
  if (o.max_attempts) check_range("max_attempts", *o.max_attempts, kMaxAttempts);
  if (o.backoff) check_range("backoff", *o.backoff, kDelay);
  if (o.max_backoff) check_range("max_backoff", *o.max_backoff, kDelay);
  if (o.jitter && !(*o.jitter >= 0.0 && *o.jitter <= 1.0)) {
    invalid_option("invalid jitter", "Pass a number from 0 to 1: 0.2 adds 0 to 20 percent to a delay.");
  }
  if (o.timeout) check_range("timeout", *o.timeout, kTimeout);
  if (o.max_age) check_range("max_age", *o.max_age, purpose == Purpose::Create ? kDelay : kDelayOrNone);
  if (o.on_exhausted) check_choice("on_exhausted", *o.on_exhausted, kOnExhausted);
  if (o.isolation) check_choice("isolation", *o.isolation, kIsolations);
  if (o.circuit && !(o.circuit->empty() && purpose == Purpose::Change)) {
    invalid_option("circuit " + pg::quoted(*o.circuit) + " does not exist", "Leave circuit out.");
  }
  if (o.service_name) check_name("service_name", *o.service_name);
}

void check_backoffs(std::int64_t backoff_us, std::int64_t max_backoff_us) {
  if (backoff_us <= max_backoff_us) return;
  invalid_option("backoff is longer than max_backoff", "Raise max_backoff, or lower backoff.");
}

// ------------------------------------------------------------------------------------------------- where to start

/// What start_from says, before anything is read: nullopt is one of the two words.
std::optional<TimestampTz> start_time(const std::string &text) {
  if (text == "earliest" || text == "latest") return std::nullopt;
  const char *const hint = "Valid values are 'earliest', 'latest' or a time such as '2026-01-31 12:00+00'.";
  TimestampTz time = 0;
  try {
    time = pg::call([&] {
      return DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in, CStringGetDatum(text.c_str()),
                                                     ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
    });
  } catch (const pg::Error &) {
    invalid_option("invalid start_from " + pg::quoted(text), hint);
  }
  if (TIMESTAMP_NOT_FINITE(time)) invalid_option("invalid start_from " + pg::quoted(text), hint);
  return time;
}

store::StartPoint start_point(const std::string &text, const std::optional<TimestampTz> &time) {
  if (time) return store::start_at(*time);
  return text == "earliest" ? store::start_at_earliest() : store::start_at_latest();
}

// ------------------------------------------------------------------------------------------------- who may

struct Target {
  store::Topic topic;
  store::Subscription subscription;
  std::string subject;
};

/// The subscription that a verb is about. Its own role and whoever may operate the topic may use the verbs.
Target target_of(const Args &args) {
  const std::string topic_name = args.text(0, "topic");
  const std::string consumer_group = args.text(1, "consumer_group");
  Target target{store::topic(topic_name), {}, topic_name + "/" + consumer_group};
  const Oid user = GetUserId();
  const auto found = store::find_subscription(target.topic.id, consumer_group);
  const bool own = found && pg::call([&] { return has_privs_of_role(user, found->run_as_oid); });
  const bool may_know = !found && store::has_right(target.topic, store::Right::Subscribe, user);
  if (!own && !may_know) store::require_right(target.topic, store::Right::Operate);
  target.subscription = store::subscription(target.topic, consumer_group);
  return target;
}

/// The lanes concerned are looked at as soon as the transaction commits.
void announce_change() {
  worker::mark_config_changed();
  worker::mark_everything();
}

void audit_change(const std::string &actor, const char *action, const Target &target,
                  const std::optional<std::string> &reason, const std::string &before) {
  const std::string after = store::subscription_row(target.subscription.id);
  store::append_audit(actor, {action, target.subject, reason, before, after});
}

std::string with_forgotten(std::int64_t parked) {
  return "{\"parked_events_forgotten\": " + std::to_string(parked) + "}";
}

}  // namespace

SAGA_FUNCTION(saga_subscribe) {
  constexpr int kStartFrom = 16;
  const Args args{fcinfo};
  begin_change("subscribe");
  const store::Topic topic = store::topic(args.text(0, "topic"));
  store::require_right(topic, store::Right::Subscribe);
  const store::HandlerFunction function = store::look_up_handler(args.text(1, "handler"));
  const std::string consumer_group = args.optional_text(2).value_or(function.name);
  check_name("consumer_group", consumer_group);
  store::SubscriptionOptions options = read_options(args, Purpose::Create);
  options.start_from = args.text(kStartFrom, "start_from");
  options.service_name = args.optional_text(kStartFrom + 2).value_or(consumer_group);
  check_options(options, Purpose::Create);
  check_backoffs(pg::interval_micros(*options.backoff), pg::interval_micros(*options.max_backoff));
  const auto time = start_time(*options.start_from);
  const store::Role run_as = store::require_run_as(args.optional_text(kStartFrom + 1));
  store::require_runnable(function, run_as);
  options.handler = function.signature;
  options.handler_owner = function.owner_name;
  options.run_as = run_as.name;
  options.run_as_oid = std::int64_t{run_as.oid};
  const std::string actor = current_user_name();

  const Datum result = pg::text_datum(consumer_group);
  pg::OwnerScope owner;
  pg::Spi spi;
  store::require_identity();
  const bool skips = *options.start_from == "latest" && store::has_events(topic.id);
  if (!store::insert_subscription(topic.id, consumer_group, options, start_point(*options.start_from, time))) {
    const std::string differences = store::different_options(topic.id, consumer_group, options);
    if (differences.empty()) return result;
    throw pg::Error{pg::kAlreadyExists,
                    "topic " + pg::quoted(topic.name) + " has a consumer group " + pg::quoted(consumer_group) +
                        " with other options",
                    "These differ: " + differences + ".",
                    "Change it with saga.alter_subscription(), its place with saga.seek(), or pass another "
                    "consumer_group."};
  }
  const int id = store::find_subscription(topic.id, consumer_group)->id;
  store::append_audit(
      actor, {"subscribe", topic.name + "/" + consumer_group, std::nullopt, std::nullopt, store::subscription_row(id)});
  if (skips) {
    pg::notice("consumer group " + pg::quoted(consumer_group) +
                   " starts with the next event: existing events of topic " + pg::quoted(topic.name) + " are skipped",
               "Pass start_from => 'earliest', or use saga.seek(), to receive them.");
  }
  announce_change();
  return result;
}

SAGA_FUNCTION(saga_alter_subscription) {
  constexpr int kHandler = 2;
  constexpr int kRunAs = 16;
  const Args args{fcinfo};
  begin_change("alter a subscription");
  const Target target = target_of(args);
  const store::Subscription &now = target.subscription;
  store::SubscriptionOptions options = read_options(args, Purpose::Change);
  options.service_name = args.optional_text(kRunAs + 1);
  check_options(options, Purpose::Change);
  const auto micros_or = [](const std::optional<Interval> &value, domain::Millis otherwise) {
    return value ? pg::interval_micros(*value) : otherwise.count() * 1000;
  };
  check_backoffs(micros_or(options.backoff, now.policy.retry.backoff_base),
                 micros_or(options.max_backoff, now.policy.retry.backoff_max));
  if (options.ordering && (*options.ordering == "topic") != (now.ordering == store::Ordering::Topic)) {
    invalid_option(
        "ordering cannot be changed from " + pg::quoted(store::name(now.ordering)) + " to " +
            pg::quoted(*options.ordering),
        "A total order has lanes of its own: saga.unsubscribe() and saga.subscribe() again with start_from.");
  }
  const auto handler = args.optional_text(kHandler);
  const auto run_as_name = args.optional_text(kRunAs);
  if (handler || run_as_name) {
    const store::Role run_as = store::require_run_as(run_as_name.value_or(now.run_as));
    const store::HandlerFunction function = store::look_up_handler(handler.value_or(now.handler));
    store::require_runnable(function, run_as);
    options.handler = function.signature;
    options.handler_owner = function.owner_name;
    options.run_as = run_as.name;
    options.run_as_oid = std::int64_t{run_as.oid};
  }
  const std::string actor = current_user_name();
  pg::OwnerScope owner;
  pg::Spi spi;
  const std::string before = store::subscription_row(now.id);
  store::update_subscription(now.id, options);
  audit_change(actor, "alter_subscription", target, args.optional_text(kRunAs + 2), before);
  announce_change();
  return Datum{0};
}

SAGA_FUNCTION(saga_unsubscribe) {
  const Args args{fcinfo};
  begin_change("unsubscribe");
  const Target target = target_of(args);
  const std::string actor = current_user_name();
  pg::OwnerScope owner;
  pg::Spi spi;
  const std::string before = store::subscription_row(target.subscription.id);
  const std::int64_t parked = store::delete_subscription(target.subscription.id);
  store::append_audit(actor, {"unsubscribe", target.subject, args.optional_text(2), before, with_forgotten(parked)});
  announce_change();
  return Datum{0};
}

SAGA_FUNCTION(saga_seek) {
  const Args args{fcinfo};
  begin_change("seek");
  const Target target = target_of(args);
  const std::string start_from = args.text(2, "start_from");
  const auto time = start_time(start_from);
  const std::string actor = current_user_name();
  pg::OwnerScope owner;
  pg::Spi spi;
  store::require_identity();
  const std::int64_t parked = store::move_subscription(target.subscription, start_point(start_from, time));
  store::append_audit(
      actor, {"seek", target.subject, args.optional_text(3), std::nullopt, store::move_as_json(start_from, parked)});
  announce_change();
  return Datum{0};
}

SAGA_FUNCTION(saga_pause) {
  const Args args{fcinfo};
  begin_change("pause a subscription");
  const Target target = target_of(args);
  const std::string actor = current_user_name();
  const auto reason = args.optional_text(2);
  pg::OwnerScope owner;
  pg::Spi spi;
  const std::string before = store::subscription_row(target.subscription.id);
  store::set_paused(target.subscription.id, reason.value_or("paused by " + actor));
  audit_change(actor, "pause", target, reason, before);
  announce_change();
  return Datum{0};
}

SAGA_FUNCTION(saga_resume) {
  const Args args{fcinfo};
  begin_change("resume a subscription");
  const Target target = target_of(args);
  const std::string actor = current_user_name();
  const store::ConfirmedHandler confirmed = store::confirm_handler(target.subscription);
  pg::OwnerScope owner;
  pg::Spi spi;
  const std::string before = store::subscription_row(target.subscription.id);
  store::lift_pause(target.subscription.id, confirmed);
  audit_change(actor, "resume", target, args.optional_text(2), before);
  announce_change();
  return Datum{0};
}

}  // namespace saga::api
