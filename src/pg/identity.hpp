// Whose rights a piece of code has. The engine's own statements run as the extension's owner with pinned
// settings; a handler runs as the session's own role.
#pragma once

#include "pg/guard.hpp"

namespace saga::pg {

/// Switches to the extension's owner for the engine's fixed statements: user id, restricted so that the role
/// cannot be changed, and every setting that could bend a statement. Leaving the scope restores both.
class OwnerScope {
 public:
  OwnerScope();
  ~OwnerScope();
  OwnerScope(const OwnerScope &) = delete;
  OwnerScope &operator=(const OwnerScope &) = delete;

 private:
  Oid user_;
  int security_context_;
  int guc_level_;
};

/// Everything that a handler sets is undone at the end of the scope, SET LOCAL and SET alike.
class SettingsScope {
 public:
  SettingsScope() : guc_level_(call([] { return NewGUCNestLevel(); })) {}
  ~SettingsScope() { AtEOXact_GUC(false, guc_level_); }
  SettingsScope(const SettingsScope &) = delete;
  SettingsScope &operator=(const SettingsScope &) = delete;

 private:
  int guc_level_;
};

/// The owner of the extension in this database; InvalidOid where it is not installed.
[[nodiscard]] Oid extension_owner();

/// Name of a role; an oid that no longer exists gives nullopt.
[[nodiscard]] std::optional<std::string> role_name(Oid role);

}  // namespace saga::pg
