// The event whose handler runs in this process, so that what it publishes inherits correlation and causation.
#pragma once

#include "domain/uuid.hpp"
#include "pg/guard.hpp"

namespace saga::store {

struct CurrentEvent {
  Datum event = 0;  // saga.event
  std::int16_t depth = 0;
  std::optional<std::string_view> external_id;  // what the publisher called it, if that is no uuid
};

/// nullptr outside a handler.
[[nodiscard]] const CurrentEvent *current_event() noexcept;

/// Makes an event the current one for a scope.
class CurrentEventScope {
 public:
  explicit CurrentEventScope(const CurrentEvent &event) noexcept;
  ~CurrentEventScope();
  CurrentEventScope(const CurrentEventScope &) = delete;
  CurrentEventScope &operator=(const CurrentEventScope &) = delete;
};

/// Attribute of a saga.event by its number, as text; nullopt when NULL.
[[nodiscard]] std::optional<std::string> event_text(Datum event, int attribute);

/// Its event_id as text.
[[nodiscard]] std::string event_id_text(Datum event);

}  // namespace saga::store
