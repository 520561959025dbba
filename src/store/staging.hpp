// What publishers hand in that does not go to the log: staged events, and input that is no valid event.
#pragma once

#include "store/event_log.hpp"

namespace saga::store {

/// Keeps an event for a sequence to release. The same id again with the same content: nothing; with other
/// content: SG022.
void stage(const Topic &topic, Oid publisher, const NewEvent &event, const std::string &given_id);

struct JsonText {
  std::optional<Datum> document;  // jsonb
  std::string error;              // why it is none
};
/// Parses text inside a subtransaction, so that bad input is an answer and no error.
JsonText parse_json(const std::string &text);

struct InvalidEvent {
  domain::Uuid id;
  std::optional<std::string> external_id;
  std::optional<std::string> key;
  std::optional<std::string> type;
  std::string raw_text;
  std::string error;
  std::uint16_t slot = 0;
};
/// One dead letter without a consumer group: status INVALID, delivered to nobody, holds no key.
void append_invalid(const Topic &topic, const InvalidEvent &event, const domain::Uuid &dead_letter_id);

}  // namespace saga::store
