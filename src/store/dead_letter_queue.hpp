// The dead letter queue as operators see it: finding, replaying, discarding, reviewing and purging dead letters. A
// replay is a new delivery of the same event to the same group with a fresh budget.
#pragma once

#include "store/dead_letters.hpp"

namespace saga::store {

struct DeadLetter {
  domain::Uuid id;
  domain::Uuid event_id;
  std::uint16_t slot = 0;
  int topic_id = 0;
  std::string topic;
  std::optional<int> subscription_id;  // none: the event was invalid when published
  std::optional<std::string> consumer_group;
  std::optional<std::string> external_id;
  std::optional<std::string> event_key;
  std::optional<std::string> event_type;
  std::optional<std::string> settled_as;
  bool has_event = false;  // its own copy of the event
  std::string state;       // jsonb text, for the audit log
};

/// Locked against other operators. nullopt: unknown.
std::optional<DeadLetter> lock_dead_letter(const domain::Uuid &id);

/// Why a dead letter cannot be replayed.
enum class ReplayProblem : std::uint8_t { None, Settled, TopicGone, GroupGone, Parked, EventGone, InLog };

struct Replay {
  ReplayProblem problem = ReplayProblem::None;
  int topic_id = 0;  // the lane that has work now
  std::int16_t partition = 0;
};

/// Puts the event of a dead letter of a consumer group back into its lane and settles it. The topic or the group may
/// have been made anew under the same name.
Replay replay(const DeadLetter &letter, std::optional<Datum> payload);

/// For a dead letter without a group: whether the event may be published now.
ReplayProblem may_publish(const DeadLetter &letter);

void settle(const domain::Uuid &id, std::string_view as);

/// Settles what is open of an event in one group.
void settle_dead_letters_of(const domain::Uuid &event_id, int subscription_id, std::string_view as);

/// Settles it without a replay; the key that its event held goes on.
Replay discard(const DeadLetter &letter);

void review(const domain::Uuid &id, std::string_view state, std::string_view reviewer,
            const std::optional<std::string> &note);

/// Whose dead letters a bulk call may touch.
struct Reach {
  bool all = false;
  std::vector<int> topics;
  std::vector<int> subscriptions;
};

/// Name and JSON type of each filter that was given.
std::vector<std::pair<std::string, std::string>> filter_members(Datum filters);

/// The text of one filter; nullopt: not given.
std::optional<std::string> filter_value(Datum filters, std::string_view name);

/// Unsettled dead letters that match, the oldest first.
std::vector<domain::Uuid> matching(Datum filters, const Reach &reach, bool with_invalid, std::int64_t limit);

/// Deletes at most limit rows and returns how many.
std::int64_t purge(TimestampTz before, const Reach &reach, std::int64_t limit);

}  // namespace saga::store
