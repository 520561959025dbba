// Any text as an identifier: a uuid comes back in its lower-case form, all else becomes a name-based id,
// and cutting the text into topic and key elsewhere gives another id.
#include "domain/uuid.hpp"

#include <string>

#include "input.hpp"

namespace {

using namespace saga::domain;
using saga::fuzz::require;

bool stamped(const Uuid &id, unsigned version) { return id.bytes[6] >> 4 == version && id.bytes[8] >> 6 == 2; }

std::string lower(std::string text) {
  for (char &c : text) {
    if (c >= 'A' && c <= 'F') c = static_cast<char>(c - 'A' + 'a');
  }
  return text;
}

void check_text(const std::string &text) {
  const auto id = parse_uuid(text);
  const Uuid event_id = event_id_of(text);
  if (id) {
    require(format_uuid(*id) == lower(text));
    require(event_id == *id);
  } else {
    require(event_id == uuid_v5(kSagaNamespace, text));
    require(stamped(event_id, 5));
  }
  require(parse_uuid(format_uuid(event_id)) == event_id);
}

void check_idempotency(std::string_view text) {
  const std::size_t middle = text.size() / 2;
  const Uuid id = idempotent_event_id(text.substr(0, middle), text.substr(middle));
  require(stamped(id, 5));
  require(idempotent_event_id(text.substr(0, middle), text.substr(middle)) == id);
  if (!text.empty()) require(idempotent_event_id(text.substr(0, middle + 1), text.substr(middle + 1)) != id);
  // The name of a pair is one fixed text, so that its id can be computed elsewhere.
  std::string name = std::to_string(middle);
  name += '\0';
  name += text;
  require(uuid_v5(kSagaNamespace, name) == id);
}

void check_generated(saga::fuzz::Input input) {
  const std::uint64_t unix_ms = input.number(6);
  const std::uint64_t a = input.number(8);
  const std::uint64_t b = input.number(8);
  const Uuid id = uuid_v7(unix_ms, a, b);
  require(stamped(id, 7));
  std::uint64_t stored_ms = 0;
  for (std::size_t i = 0; i < 6; ++i) stored_ms = stored_ms << 8 | id.bytes[i];
  require(stored_ms == unix_ms);
  require(parse_uuid(format_uuid(id)) == id);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size);

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
  const std::string text(saga::fuzz::Input(data, size).rest());
  check_text(text);
  check_idempotency(text);
  check_generated(saga::fuzz::Input(data, size));
  return 0;
}
