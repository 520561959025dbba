// Dead letters: replay, discard, review, purge. The bulk forms are procedures that commit every 100 rows, so that
// neither locks nor a long transaction pile up.
#include <algorithm>

#include "api/operate.hpp"
#include "pg/clock.hpp"
#include "pg/identity.hpp"
#include "pg/notice.hpp"
#include "pg/settings.hpp"
#include "store/dead_letter_queue.hpp"
#include "store/event_log.hpp"
#include "worker/wakeup.hpp"

namespace saga::api {

namespace {

constexpr std::int64_t kBatch = 100;
constexpr std::array<std::string_view, 8> kFilters{"topic",  "consumer_group", "event_type",  "sqlstate",
                                                   "reason", "dead_after",     "dead_before", "ids"};
constexpr std::array<std::string_view, 3> kReviewStates{"needs_review", "in_review", "reviewed"};

template <std::size_t N>
std::string listed(const std::array<std::string_view, N> &names) {
  std::string text;
  for (const std::string_view name : names) text.append(text.empty() ? "" : ", ").append(name);
  return text;
}

// ------------------------------------------------------------------------------------------------- one letter

domain::Uuid letter_id(const Args &args) { return pg::to_uuid(args.datum(0, "dead_letter_id")); }

void require_operator_of(const store::DeadLetter &letter, Oid role) {
  const store::Topic *topic = store::topic_by_id(letter.topic_id);
  const auto subscription = letter.subscription_id ? store::subscription_by_id(*letter.subscription_id)
                                                   : std::optional<store::Subscription>{};
  if (topic != nullptr) {
    require_operator(*topic, subscription ? &*subscription : nullptr, role);
    return;
  }
  if (role == pg::extension_owner() || pg::call([&] { return superuser_arg(role); })) return;
  throw pg::Error{ERRCODE_INSUFFICIENT_PRIVILEGE,
                  "permission denied for dead letters of a topic that is gone",
                  {},
                  "Ask a superuser, or create topic " + pg::quoted(letter.topic) + " again."};
}

/// Locked and allowed. Inside an OwnerScope and an Spi; role is the caller.
store::DeadLetter locked_letter(const domain::Uuid &id, Oid role) {
  auto letter = store::lock_dead_letter(id);
  if (!letter) {
    throw pg::Error{pg::kUnknownDeadLetter,
                    "dead letter " + pg::quoted(domain::format_uuid(id)) + " does not exist",
                    {},
                    "See saga.dead_letters."};
  }
  require_operator_of(*letter, role);
  return std::move(*letter);
}

[[noreturn]] void cannot_replay(const store::DeadLetter &letter, store::ReplayProblem problem) {
  const std::string what = "dead letter " + pg::quoted(domain::format_uuid(letter.id)) + " cannot be replayed: ";
  switch (problem) {
    case store::ReplayProblem::Settled:
      throw pg::Error{ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                      what + "it was " + *letter.settled_as,
                      {},
                      "If the event died again, it has a newer dead letter: see saga.dead_letters."};
    case store::ReplayProblem::TopicGone:
      throw pg::Error{pg::kUnknownTopic,
                      what + "topic " + pg::quoted(letter.topic) + " does not exist any more",
                      {},
                      "Create it again with saga.create_topic(), or discard the dead letter."};
    case store::ReplayProblem::GroupGone:
      throw pg::Error{pg::kUnknownConsumerGroup,
                      what + "topic " + pg::quoted(letter.topic) + " has no consumer group " +
                          pg::quoted(letter.consumer_group.value_or("")) + " any more",
                      {},
                      "Subscribe it again with saga.subscribe(), or discard the dead letter."};
    case store::ReplayProblem::Parked:
      throw pg::Error{ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                      what + "the event is being delivered again already",
                      {},
                      "See saga.parked."};
    case store::ReplayProblem::InLog:
      throw pg::Error{ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                      what + "an event with its id was published since",
                      {},
                      "Discard it with CALL saga.discard_dead_letters()."};
    case store::ReplayProblem::EventGone:
    case store::ReplayProblem::None:
      break;
  }
  throw pg::Error{ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                  what + "the event itself is gone",
                  {},
                  "Publish it anew, and discard the dead letter."};
}

void check_payload(Datum payload) {
  const std::size_t size = pg::call([&] { return toast_raw_datum_size(payload); });
  const auto limit = static_cast<std::size_t>(pg::settings::max_payload_kb) * 1024;
  if (size <= limit) return;
  throw pg::Error{ERRCODE_PROGRAM_LIMIT_EXCEEDED,
                  "payload has " + std::to_string(size) + " bytes, the limit is " + std::to_string(limit),
                  {},
                  "Use a smaller one, or raise saga.max_payload_size."};
}

std::optional<std::string_view> view(const std::optional<std::string> &text) {
  if (!text) return std::nullopt;
  return std::string_view(*text);
}

/// An event that was invalid when published is published now, under its id. As the caller, who becomes its publisher.
void publish_letter(const store::DeadLetter &letter, Datum payload) {
  store::NewEvent event;
  event.id = letter.event_id;
  event.external_id = view(letter.external_id);
  event.key = view(letter.event_key);
  event.type = view(letter.event_type);
  event.payload = payload;
  event.slot = letter.slot;
  const store::Topic *topic = store::topic_by_id(letter.topic_id);
  const int topic_id = topic != nullptr ? topic->id : store::topic(letter.topic).id;
  for (const std::int16_t partition : store::append(letter.topic, {event})) worker::mark_published(topic_id, partition);
}

void audit_letter(const Operator &who, std::string_view action, const store::DeadLetter &letter, std::string_view as) {
  store::append_audit(
      who.name, {action, domain::format_uuid(letter.id), who.reason, letter.state, json_member("settled_as", as)});
}

void replay_invalid(const store::DeadLetter &letter, const Operator &who, std::optional<Datum> payload) {
  {
    pg::OwnerScope owner;
    pg::Spi spi;
    const auto problem = store::may_publish(letter);
    if (problem != store::ReplayProblem::None) cannot_replay(letter, problem);
  }
  if (!payload) {
    throw pg::Error{pg::kInvalidOption,
                    "event " + pg::quoted(letter.external_id.value_or(domain::format_uuid(letter.event_id))) +
                        " was invalid when published: its replay needs a payload",
                    {},
                    "Pass the corrected document: saga.replay_dead_letter('" + domain::format_uuid(letter.id) +
                        "', payload => '{...}')."};
  }
  publish_letter(letter, *payload);
  pg::OwnerScope owner;
  pg::Spi spi;
  store::settle(letter.id, "replayed");
  audit_letter(who, "replay_dead_letter", letter, "replayed");
}

// ------------------------------------------------------------------------------------------------- many letters

void refuse_transaction_block(FunctionCallInfo fcinfo, const char *procedure) {
  const auto *context = reinterpret_cast<CallContext *>(fcinfo->context);
  if (context != nullptr && IsA(context, CallContext) && !context->atomic) return;
  throw pg::Error{ERRCODE_ACTIVE_SQL_TRANSACTION, std::string(procedure) + "() cannot run inside a transaction block",
                  "It commits after every " + std::to_string(kBatch) + " rows.",
                  "CALL it by itself, without BEGIN and outside functions."};
}

/// The JSON document of the filters, of known names and types. Throws SG020.
Datum checked_filters(const Args &args) {
  const Datum filters = args.datum(0, "filters");
  const bool is_object = pg::call([&] { return JB_ROOT_IS_OBJECT(DatumGetJsonbP(filters)); });
  if (!is_object) {
    throw pg::Error{
        pg::kInvalidOption, "filters must be a JSON object", {}, "Valid filters are " + listed(kFilters) + "."};
  }
  pg::OwnerScope owner;
  pg::Spi spi;
  for (const auto &[name, type] : store::filter_members(filters)) {
    if (std::find(kFilters.begin(), kFilters.end(), name) == kFilters.end()) {
      throw pg::Error{
          pg::kInvalidOption, "unknown filter " + pg::quoted(name), {}, "Valid filters are " + listed(kFilters) + "."};
    }
    const std::string_view wanted = name == "ids" ? "array" : "string";
    if (type != wanted) {
      throw pg::Error{pg::kInvalidOption,
                      "filter " + pg::quoted(name) + " must be of type " + std::string(wanted),
                      {},
                      name == "ids" ? "Pass an array of dead letter ids." : "Pass its value as text."};
    }
  }
  return filters;
}

/// What the caller may operate on.
store::Reach reach_of(Oid role) {
  store::Reach reach;
  reach.all = role == pg::extension_owner() || pg::call([&] { return superuser_arg(role); });
  if (reach.all) return reach;
  for (const int id : store::readable_topics(role)) {
    const store::Topic *topic = store::topic_by_id(id);
    if (topic != nullptr && store::has_right(*topic, store::Right::Operate, role)) reach.topics.push_back(id);
  }
  for (const store::Subscription &s : store::all_subscriptions()) {
    if (pg::call([&] { return has_privs_of_role(role, s.run_as_oid); })) reach.subscriptions.push_back(s.id);
  }
  return reach;
}

/// A topic that is named must be one that the caller may operate on, or one that is gone but left dead letters.
void check_topic(const std::string &name, const store::Reach &reach, Oid role, bool any_letter) {
  const store::Topic *found = store::find_topic(name);
  if (found == nullptr) {
    if (!any_letter) (void)store::topic(name);  // throws
    return;
  }
  const store::Topic topic = *found;
  for (const int id : reach.subscriptions) {
    const auto subscription = store::subscription_by_id(id);
    if (subscription && subscription->topic_id == topic.id) return;
  }
  require_operator(topic, nullptr, role);
}

std::vector<domain::Uuid> matching_letters(Datum filters, Oid role, bool with_invalid, std::int64_t limit) {
  const store::Reach reach = reach_of(role);
  pg::OwnerScope owner;
  pg::Spi spi;
  const auto ids = store::matching(filters, reach, with_invalid, limit);
  if (const auto topic = store::filter_value(filters, "topic")) check_topic(*topic, reach, role, !ids.empty());
  return ids;
}

/// Ends the transaction and begins the next; inside a non-atomic Spi and no OwnerScope.
void commit_batch() {
  pg::call([] {
    SPI_commit();
    CHECK_FOR_INTERRUPTS();
  });
}

/// Holds no snapshot: it is called right after a commit.
void sleep_until(std::int64_t monotonic_us) {
  for (;;) {
    const std::int64_t left = monotonic_us - pg::monotonic_us();
    if (left <= 0) return;
    pg::call([&] {
      (void)WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, static_cast<long>(left / 1000) + 1,
                      PG_WAIT_EXTENSION);
      ResetLatch(MyLatch);
      CHECK_FOR_INTERRUPTS();
    });
  }
}

struct Counts {
  std::int64_t done = 0;
  std::int64_t passed_over = 0;  // settled by somebody else meanwhile, or not possible any more
};

/// Works on the letters in batches, each in a transaction of its own. work answers whether the letter was settled.
template <typename Work>
Counts in_batches(const std::vector<domain::Uuid> &ids, std::optional<std::int32_t> per_second, const Operator &who,
                  std::string_view action, const std::string &filters, Work &&work) {
  Counts counts;
  const std::int64_t batch = per_second ? std::min<std::int64_t>(kBatch, *per_second) : kBatch;
  const std::int64_t started_us = pg::monotonic_us();
  for (std::size_t next = 0; next < ids.size();) {
    const std::int64_t before = counts.done;
    {
      pg::OwnerScope owner;
      pg::Spi spi;
      for (std::int64_t i = 0; i < batch && next < ids.size(); ++i, ++next) {
        const auto letter = store::lock_dead_letter(ids[next]);
        ++(letter && work(*letter) ? counts.done : counts.passed_over);
      }
      if (counts.done > before) {
        const std::string after = "{\"settled\": " + std::to_string(counts.done - before) + "}";
        store::append_audit(who.name, {action, "dead letters", who.reason, filters, after});
      }
    }
    commit_batch();
    if (next == ids.size()) break;
    pg::notice(std::string(action) + ": " + std::to_string(next) + " of " + std::to_string(ids.size()), {});
    if (per_second) sleep_until(started_us + static_cast<std::int64_t>(next) * 1'000'000 / *per_second);
  }
  return counts;
}

void tell(const char *what, const Counts &counts) {
  std::string text = std::string("dead letters ") + what + ": " + std::to_string(counts.done);
  if (counts.passed_over > 0) text += ", passed over: " + std::to_string(counts.passed_over);
  pg::notice(text,
             counts.passed_over > 0 ? "saga.replay_dead_letter() says why one cannot be replayed." : std::string());
}

std::string json_text(Datum document) {
  return pg::call([&] {
    Jsonb *value = DatumGetJsonbP(document);
    return static_cast<const char *>(JsonbToCString(nullptr, &value->root, VARSIZE(value)));
  });
}

}  // namespace

SAGA_FUNCTION(saga_replay_dead_letter) {
  const Args args{fcinfo};
  require_writable("replay a dead letter");
  const domain::Uuid id = letter_id(args);
  Operator who;
  who.reason = args.optional_text(1);
  const auto payload = args.optional_datum(2);
  if (payload) check_payload(*payload);
  std::optional<store::DeadLetter> letter;
  {
    pg::OwnerScope owner;
    pg::Spi spi;
    letter = locked_letter(id, who.role);
    if (letter->subscription_id) {
      const store::Replay replayed = store::replay(*letter, payload);
      if (replayed.problem != store::ReplayProblem::None) cannot_replay(*letter, replayed.problem);
      audit_letter(who, "replay_dead_letter", *letter, "replayed");
      worker::mark_published(replayed.topic_id, replayed.partition);
    }
  }
  if (!letter->subscription_id) replay_invalid(*letter, who, payload);
  return Int32GetDatum(1);
}

SAGA_FUNCTION(saga_review_dead_letter) {
  const Args args{fcinfo};
  require_writable("review a dead letter");
  const domain::Uuid id = letter_id(args);
  const std::string state = args.text(1, "review_state");
  const auto note = args.optional_text(2);
  if (std::find(kReviewStates.begin(), kReviewStates.end(), state) == kReviewStates.end()) {
    throw pg::Error{pg::kInvalidOption,
                    "unknown review state " + pg::quoted(state),
                    {},
                    "Valid states are " + listed(kReviewStates) + "."};
  }
  const Operator who;
  pg::OwnerScope owner;
  pg::Spi spi;
  const store::DeadLetter letter = locked_letter(id, who.role);
  store::review(id, state, who.name, note);
  store::append_audit(who.name, {"review_dead_letter", domain::format_uuid(id), note, letter.state,
                                 json_member("review_state", state)});
  return Int32GetDatum(1);
}

SAGA_FUNCTION(saga_replay_dead_letters) {
  const Args args{fcinfo};
  refuse_transaction_block(fcinfo, "replay_dead_letters");
  require_writable("replay dead letters");
  const std::int32_t max_events = args.i32(1, "max_events");
  std::optional<std::int32_t> per_second;
  if (!args.is_null(2)) per_second = args.i32(2, "per_second");
  const bool dry_run = args.boolean(3, "dry_run");
  Operator who;
  who.reason = args.optional_text(4);
  if (max_events < 1 || (per_second && *per_second < 1)) {
    throw pg::Error{
        pg::kInvalidOption, "max_events and per_second must be at least 1", {}, "Leave per_second NULL for no limit."};
  }
  pg::Spi session{pg::Spi::Atomicity::NonAtomic};
  const Datum filters = checked_filters(args);
  const std::string filter_text = json_text(filters);
  const auto ids = matching_letters(filters, who.role, false, max_events);
  if (dry_run) {
    pg::notice("dead letters that would be replayed: " + std::to_string(ids.size()), {});
    return Datum{0};
  }
  const Counts counts =
      in_batches(ids, per_second, who, "replay_dead_letters", filter_text, [](const store::DeadLetter &letter) {
        const store::Replay replayed = store::replay(letter, std::nullopt);
        if (replayed.problem != store::ReplayProblem::None) return false;
        worker::mark_published(replayed.topic_id, replayed.partition);
        return true;
      });
  tell("replayed", counts);
  return Datum{0};
}

SAGA_FUNCTION(saga_discard_dead_letters) {
  const Args args{fcinfo};
  refuse_transaction_block(fcinfo, "discard_dead_letters");
  require_writable("discard dead letters");
  Operator who;
  who.reason = args.optional_text(1);
  pg::Spi session{pg::Spi::Atomicity::NonAtomic};
  const Datum filters = checked_filters(args);
  const std::string filter_text = json_text(filters);
  const auto ids = matching_letters(filters, who.role, true, INT64_MAX);
  const Counts counts =
      in_batches(ids, std::nullopt, who, "discard_dead_letters", filter_text, [](const store::DeadLetter &letter) {
        const store::Replay discarded = store::discard(letter);
        if (discarded.problem != store::ReplayProblem::None) return false;
        if (discarded.topic_id != 0) worker::mark_published(discarded.topic_id, discarded.partition);
        return true;
      });
  tell("discarded", counts);
  return Datum{0};
}

SAGA_FUNCTION(saga_purge_dead_letters) {
  const Args args{fcinfo};
  refuse_transaction_block(fcinfo, "purge_dead_letters");
  require_writable("purge dead letters");
  const std::int64_t micros = pg::interval_micros(args.interval(0, "older_than"));
  if (micros < 0)
    throw pg::Error{pg::kInvalidOption, "older_than must not be negative", {}, "Pass for instance '30 days'."};
  const TimestampTz now = GetCurrentTimestamp();
  const TimestampTz before = micros > now - MIN_TIMESTAMP ? MIN_TIMESTAMP : now - micros;
  const Operator who;
  pg::Spi session{pg::Spi::Atomicity::NonAtomic};
  const store::Reach reach = reach_of(who.role);
  Counts counts;
  for (;;) {
    std::int64_t deleted = 0;
    {
      pg::OwnerScope owner;
      pg::Spi spi;
      deleted = store::purge(before, reach, kBatch);
      if (deleted > 0) {
        store::append_audit(who.name, {"purge_dead_letters", "dead letters", std::nullopt, std::nullopt,
                                       "{\"deleted\": " + std::to_string(deleted) + "}"});
      }
    }
    commit_batch();
    counts.done += deleted;
    if (deleted < kBatch) break;
  }
  tell("purged", counts);
  return Datum{0};
}

}  // namespace saga::api
