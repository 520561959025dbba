// The operators' verbs on parked events and held keys: retry_now, skip_event, cancel_event, release_key. Each locks the
// parked row without waiting, changes it, tells the lane, and leaves an audit row.
#include "api/operate.hpp"

#include <algorithm>

#include "api/events.hpp"
#include "pg/identity.hpp"
#include "worker/activity.hpp"
#include "worker/wakeup.hpp"

namespace saga::api {

namespace {

/// The event and the group that a call names, both of which the caller may operate on.
struct Target {
  domain::Uuid id;
  std::string given;
  store::Subscription subscription;
};

Target target_of(const Args &args, const char *what) {
  require_writable(what);
  Target target;
  target.given = args.text(0, "event_id");
  const std::string group = args.text(1, "consumer_group");
  const ReadableEvent event = readable_event(target.given);
  target.id = event.id;
  const store::Topic *found = store::topic_by_id(event.known.topic_id);
  if (found == nullptr)
    throw pg::Error{pg::kUnknownTopic, "the topic of event " + pg::quoted(target.given) + " is gone"};
  const store::Topic topic = *found;
  target.subscription = store::subscription(topic, group);
  require_operator(topic, &target.subscription, GetUserId());
  return target;
}

Operator operator_of(const Args &args, int reason) {
  Operator who;
  who.reason = args.optional_text(reason);
  return who;
}

std::string subject_of(const Target &target) {
  return target.subscription.topic + "/" + target.subscription.consumer_group + "/" + target.given;
}

std::string hint_for(const std::string &status, const Target &target) {
  const std::string now = "Its status is " + status + ". ";
  if (status == "FAILED" || status == "INVALID") return now + "See saga.dead_letters and saga.replay_dead_letter().";
  if (status == "PENDING")
    return now + "Consumer group " + pg::quoted(target.subscription.consumer_group) +
           " has not reached it; see saga.lag.";
  if (status == "PROCESSING") return now + "saga.cancel_event() stops it.";
  if (status == "NOT_DELIVERED") return now + "saga.seek() moves the group back.";
  return now + "There is nothing left to do.";
}

[[noreturn]] void not_parked(const Target &target) {
  const auto states = store::states_of(target.id, target.subscription.consumer_group);
  throw pg::Error{
      pg::kNotParked,
      "event " + pg::quoted(target.given) + " is not parked for consumer group " +
          pg::quoted(target.subscription.consumer_group),
      {},
      states.empty() ? "The group does not receive events of its type." : hint_for(states.front().status, target)};
}

[[noreturn]] void is_busy(const std::string &what, const std::string &cancel) {
  throw pg::Error{ERRCODE_OBJECT_IN_USE,
                  what + " is running now, or another operator works on it",
                  {},
                  "Try again when it is done, or stop it with " + cancel + "."};
}

std::string cancel_command(const std::string &event, const std::string &group) {
  return "saga.cancel_event('" + event + "', '" + group + "')";
}

/// Locked, or an error that says why not. Inside an OwnerScope and an Spi.
store::LockedEvent lock(const Target &target) {
  const std::vector<worker::Activity> workers = worker::activity();
  const bool running = std::any_of(workers.begin(), workers.end(), [&](const worker::Activity &one) {
    return one.running && one.subscription_id == target.subscription.id && one.event_id == target.id;
  });
  if (running) {
    is_busy("event " + pg::quoted(target.given), cancel_command(target.given, target.subscription.consumer_group));
  }
  store::LockedEvent locked;
  switch (store::lock_parked(target.subscription, target.id, locked)) {
    case store::LockResult::Missing:
      not_parked(target);
    case store::LockResult::Busy:
      is_busy("event " + pg::quoted(target.given), cancel_command(target.given, target.subscription.consumer_group));
    case store::LockResult::Locked:
      break;
  }
  return locked;
}

void tell_lane(const store::Subscription &subscription, const store::Lane &lane) {
  worker::mark_published(subscription.topic_id, lane.partition);
}

void audit(const Operator &who, std::string_view action, const std::string &subject, const std::string &before,
           const std::string &after) {
  store::append_audit(who.name, {action, subject, who.reason, before, after});
}

/// Ends a parked event with that status.
void end_event(const Target &target, const Operator &who, std::string_view action, std::string_view status) {
  const store::LockedEvent locked = lock(target);
  store::end_parked(target.subscription, locked, status, who.reason);
  audit(who, action, subject_of(target), locked.state, json_member("status", status));
  tell_lane(target.subscription, locked.lane);
}

}  // namespace

bool may_operate(const store::Topic &topic, const store::Subscription *subscription, Oid role) {
  if (store::has_right(topic, store::Right::Operate, role)) return true;
  return subscription != nullptr && pg::call([&] { return has_privs_of_role(role, subscription->run_as_oid); });
}

void require_operator(const store::Topic &topic, const store::Subscription *subscription, Oid role) {
  if (may_operate(topic, subscription, role)) return;
  throw pg::Error{ERRCODE_INSUFFICIENT_PRIVILEGE,
                  "permission denied to operate on topic " + pg::quoted(topic.name),
                  {},
                  "A role with the right to operate it can run saga.grant_topic('" + topic.name + "', '" +
                      pg::role_name(role).value_or("?") + "', ARRAY['operate'])."};
}

std::string json_member(std::string_view member, std::string_view value) {
  const std::string name(member);
  const std::string text(value);
  return pg::call([&] {
    StringInfoData json;
    initStringInfo(&json);
    appendStringInfoChar(&json, '{');
    escape_json(&json, name.c_str());
    appendStringInfoString(&json, ": ");
    escape_json(&json, text.c_str());
    appendStringInfoChar(&json, '}');
    return static_cast<const char *>(json.data);
  });
}

SAGA_FUNCTION(saga_retry_now) {
  const Args args{fcinfo};
  const Target target = target_of(args, "retry an event");
  const Operator who = operator_of(args, 2);
  pg::OwnerScope owner;
  pg::Spi spi;
  const store::LockedEvent locked = lock(target);
  if (locked.waiting_for == "halt") {
    throw pg::Error{pg::kNotParked,
                    "event " + pg::quoted(target.given) + " has used up its attempts and halts its key",
                    {},
                    "Replay it with saga.replay_dead_letter(), or let it go with saga.skip_event()."};
  }
  if (locked.waiting_for == "key") {
    throw pg::Error{pg::kNotParked,
                    "event " + pg::quoted(target.given) + " waits behind an earlier event of its key",
                    {},
                    "See saga.held_keys for that event and the command that frees the key."};
  }
  store::make_due(locked);
  audit(who, "retry_now", subject_of(target), locked.state, json_member("due_at", "now"));
  tell_lane(target.subscription, locked.lane);
  return Int32GetDatum(1);
}

SAGA_FUNCTION(saga_skip_event) {
  const Args args{fcinfo};
  const Target target = target_of(args, "skip an event");
  const Operator who = operator_of(args, 2);
  pg::OwnerScope owner;
  pg::Spi spi;
  end_event(target, who, "skip_event", "SKIPPED");
  return Int32GetDatum(1);
}

SAGA_FUNCTION(saga_cancel_event) {
  const Args args{fcinfo};
  const Target target = target_of(args, "cancel an event");
  const Operator who = operator_of(args, 2);
  pg::OwnerScope owner;
  pg::Spi spi;
  if (worker::stop_running(target.subscription.id, target.id)) {
    audit(who, "cancel_event", subject_of(target), json_member("status", "PROCESSING"),
          json_member("status", "CANCELLED"));
  } else {
    end_event(target, who, "cancel_event", "CANCELLED");
  }
  return Int32GetDatum(1);
}

SAGA_FUNCTION(saga_release_key) {
  const Args args{fcinfo};
  require_writable("release a key");
  const store::Topic topic = store::topic(args.text(0, "topic"));
  const std::string key = args.text(2, "key");
  Target target;
  target.subscription = store::subscription(topic, args.text(1, "consumer_group"));
  require_operator(topic, &target.subscription, GetUserId());
  const Operator who = operator_of(args, 3);
  pg::OwnerScope owner;
  pg::Spi spi;
  const auto head = store::head_of_key(target.subscription, key);
  if (!head) {
    throw pg::Error{
        pg::kNotParked,
        "key " + pg::quoted(key) + " is not held for consumer group " + pg::quoted(target.subscription.consumer_group),
        {},
        "See saga.held_keys."};
  }
  target.id = *head;
  target.given = domain::format_uuid(*head);
  end_event(target, who, "release_key", "SKIPPED");
  return Int32GetDatum(1);
}

}  // namespace saga::api
