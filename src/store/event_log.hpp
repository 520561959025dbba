// The log itself: appends event rows to the current leaf. Nothing else is written on the publish path, and
// the rows go straight into the leaf and its indexes: no statement, no routing, no change of user.
#pragma once

#include "store/topics.hpp"

namespace saga::store {

/// One event to append. Views must outlive the call.
struct NewEvent {
  domain::Uuid id;
  std::optional<std::string_view> external_id;
  std::optional<std::string_view> key;
  std::optional<std::string_view> type;
  Datum payload = 0;  // jsonb
  std::optional<std::string_view> correlation_id;
  std::optional<std::string_view> causation_id;
  std::optional<std::string_view> service_name;
  std::optional<Datum> metadata;  // jsonb
  std::optional<TimestampTz> deliver_at;
  std::uint16_t slot = 0;
  std::int16_t depth = 0;
};

/// Appends the events in this order and returns the partitions that they went to, one per event.
/// Throws SG022 when an id is in the log already under another publisher.
std::vector<std::int16_t> append(const std::string &topic_name, const std::vector<NewEvent> &events);

/// The slot of an event: of its key, or of its id when it has none.
[[nodiscard]] std::uint16_t slot_of_event(const domain::Uuid &id, const std::optional<std::string_view> &key);

}  // namespace saga::store
