// The audit log: every operator action, who did it and why.
#pragma once

#include "store/config.hpp"

namespace saga::store {

struct AuditRow {
  std::string_view action;   // the verb, as the function is named
  std::string_view subject;  // what it was done to, readable: topic/group, event id
  std::optional<std::string> reason;
  std::optional<std::string> before;  // jsonb text
  std::optional<std::string> after;   // jsonb text
};

/// Appends one row with the given actor. Runs as the extension's owner (inside an OwnerScope and an Spi).
void append_audit(std::string_view actor, const AuditRow &row);

}  // namespace saga::store
