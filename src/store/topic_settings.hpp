// Statements that change topics, the rights on them and, with the rights, the privileges on the functions and views
// that a role needs to use them. Everything here runs as the extension's owner, inside an Spi session; who may do it
// is decided before.
#pragma once

#include "store/config.hpp"

namespace saga::store {

struct NewTopic {
  std::string_view name;
  int partitions = 16;
  Interval retention{};
  std::string_view on_invalid;
  bool envelope = false;
  std::string_view owner_name;
  Oid owner = InvalidOid;
};

/// False: a topic of that name exists.
bool insert_topic(const NewTopic &topic);

/// The row of a topic as jsonb text, for the audit log.
std::string topic_row(int topic_id);

/// nullopt keeps what there is.
void update_topic(int topic_id, const std::optional<Interval> &retention, const std::optional<std::string> &on_invalid);

/// What stands against dropping a topic; empty: nothing does.
std::string reason_to_keep_topic(int topic_id);

/// The topic with its subscriptions, their cursors and parked events, and its rights. Its events go with their
/// retention, its dead letters with theirs. The roles concerned lose the privileges that they need no more.
void delete_topic(int topic_id);

struct Rights {
  bool publish = false;
  bool subscribe = false;
  bool operate = false;
};

/// topic_id 0: all topics, those made later included.
void grant_rights(int topic_id, Oid role, std::string_view role_name, const Rights &rights);
void revoke_rights(int topic_id, Oid role, std::string_view role_name, const Rights &rights);

/// Grants the role every function and view that its rights need, and revokes those that they need no more.
void synchronise_privileges(Oid role, std::string_view role_name);

/// The rights of a role on a topic as jsonb text, for the audit log.
std::optional<std::string> rights_row(int topic_id, Oid role);

}  // namespace saga::store
