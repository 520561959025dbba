#include "store/topics.hpp"

#include <unordered_map>

#include "pg/identity.hpp"
#include "pg/settings.hpp"

namespace saga::store {

namespace {

constinit pg::Statement kTopics{
    "SELECT t.topic_id, t.topic, t.partitions, t.on_invalid = 'reject', t.envelope, t.owner_oid,"
    "       coalesce((SELECT max(s.segment_id) FROM saga.segment s"
    "                 WHERE s.retention = t.retention AND s.closed_at IS NULL), 0),"
    "       pg_catalog.to_regclass('saga.event_v1_s' || coalesce((SELECT max(s.segment_id) FROM saga.segment s"
    "                 WHERE s.retention = t.retention AND s.closed_at IS NULL), 0))::oid::int8"
    " FROM saga.topic t"};

constinit pg::Statement kGrants{
    "SELECT topic_id, role_oid, can_publish, can_subscribe, can_operate FROM saga.topic_grant"};

constinit pg::Statement kInstallation{
    "SELECT era, system_identifier, database_oid, paused_reason FROM saga.installation"};

struct Grant {
  int topic_id;
  Oid role;
  std::array<bool, 3> rights;
};

struct Cache {
  std::uint64_t version = 0;
  std::unordered_map<std::string, Topic> topics;
  std::unordered_map<int, const Topic *> by_id;
  std::vector<Grant> grants;
  std::unordered_map<std::uint64_t, bool> decided;  // (topic, role, right) -> allowed
  Installation installation;
};

Cache &cache() {
  static Cache *const instance = new Cache;  // never destroyed: nothing may run at process exit
  return *instance;
}

void load_topics(Cache &c) {
  const pg::Rows rows = pg::run(kTopics, {});
  for (std::uint64_t i = 0; i < rows.size(); ++i) {
    const pg::Row row = rows[i];
    Topic t;
    t.id = row.i32(1);
    t.name = row.text(2);
    t.partitions = static_cast<std::uint16_t>(row.i32(3));
    t.reject_invalid = row.boolean(4);
    t.envelope = row.boolean(5);
    t.owner = static_cast<Oid>(row.i64(6));
    t.segment = row.i32(7);
    t.event_leaf = row.is_null(8) ? InvalidOid : static_cast<Oid>(row.i64(8));
    const auto placed = c.topics.emplace(t.name, t).first;
    c.by_id.emplace(t.id, &placed->second);
  }
}

void load_grants(Cache &c) {
  const pg::Rows rows = pg::run(kGrants, {});
  for (std::uint64_t i = 0; i < rows.size(); ++i) {
    const pg::Row row = rows[i];
    c.grants.push_back({row.i32(1), static_cast<Oid>(row.i64(2)), {row.boolean(3), row.boolean(4), row.boolean(5)}});
  }
}

void load_installation(Cache &c) {
  const pg::Rows rows = pg::run(kInstallation, {});
  if (rows.empty()) {
    c.installation.paused_reason = "no topic was created yet";
    return;
  }
  const pg::Row row = rows[0];
  c.installation.era = row.i32(1);
  c.installation.is_copy =
      static_cast<std::uint64_t>(row.i64(2)) != GetSystemIdentifier() || static_cast<Oid>(row.i64(3)) != MyDatabaseId;
  if (c.installation.is_copy) {
    c.installation.paused_reason = "this database is a copy of another one";
  } else if (!row.is_null(4)) {
    c.installation.paused_reason = row.text(4);
  } else {
    c.installation.runnable = true;
  }
}

Cache &fresh_cache() {
  Cache &c = cache();
  if (c.version == config_version()) return c;
  pg::OwnerScope owner;
  pg::Spi spi;
  const std::uint64_t version = config_version();
  c.version = 0;
  c.topics.clear();
  c.by_id.clear();
  c.grants.clear();
  c.decided.clear();
  c.installation = Installation{};
  load_topics(c);
  load_grants(c);
  load_installation(c);
  // What an old snapshot of REPEATABLE READ showed is good for this transaction only.
  c.version = IsolationUsesXactSnapshot() ? 0 : version;
  return c;
}

bool granted(const Cache &c, const Topic &topic, Right right, Oid role) {
  if (pg::call([&] { return superuser_arg(role) || has_privs_of_role(role, topic.owner); })) return true;
  for (const Grant &g : c.grants) {
    if (g.topic_id != 0 && g.topic_id != topic.id) continue;
    if (!g.rights[static_cast<std::size_t>(right)]) continue;
    if (pg::call([&] { return has_privs_of_role(role, g.role); })) return true;
  }
  return false;
}

const char *right_name(Right right) {
  switch (right) {
    case Right::Publish:
      return "publish";
    case Right::Subscribe:
      return "subscribe";
    case Right::Operate:
      break;
  }
  return "operate";
}

}  // namespace

const Topic *find_topic(std::string_view name) {
  Cache &c = fresh_cache();
  const auto found = c.topics.find(std::string(name));
  return found == c.topics.end() ? nullptr : &found->second;
}

const Topic &topic(std::string_view name) {
  const Topic *found = find_topic(name);
  if (found == nullptr) {
    throw pg::Error{
        pg::kUnknownTopic,
        "topic " + pg::quoted(name) + " does not exist",
        {},
        "Create it with saga.create_topic('" + std::string(name.substr(0, 200)) + "'), or see the view saga.topics."};
  }
  return *found;
}

const Topic *topic_by_id(int id) {
  Cache &c = fresh_cache();
  const auto found = c.by_id.find(id);
  return found == c.by_id.end() ? nullptr : found->second;
}

bool has_right(const Topic &topic, Right right, Oid role) {
  Cache &c = fresh_cache();
  const std::uint64_t key =
      (static_cast<std::uint64_t>(topic.id) << 34) | (std::uint64_t{role} << 2) | static_cast<std::uint64_t>(right);
  const auto known = c.decided.find(key);
  if (known != c.decided.end()) return known->second;
  const bool allowed = granted(c, topic, right, role);
  c.decided.emplace(key, allowed);
  return allowed;
}

void require_right(const Topic &topic, Right right) {
  if (has_right(topic, right, GetUserId())) return;
  throw pg::Error{ERRCODE_INSUFFICIENT_PRIVILEGE,
                  std::string("permission denied to ") + right_name(right) + " on topic " + pg::quoted(topic.name),
                  {},
                  "A role with the right to operate it can run saga.grant_topic('" + topic.name + "', '" +
                      pg::role_name(GetUserId()).value_or("?") + "', ARRAY['" + right_name(right) + "'])."};
}

std::vector<int> readable_topics(Oid role) {
  std::vector<int> ids;
  for (const auto &[name, t] : fresh_cache().topics) {
    if (has_right(t, Right::Publish, role) || has_right(t, Right::Subscribe, role) ||
        has_right(t, Right::Operate, role)) {
      ids.push_back(t.id);
    }
  }
  return ids;
}

const Installation &installation() { return fresh_cache().installation; }

std::string leaf_name(std::string_view parent, int segment) {
  return std::string(parent) + "_s" + std::to_string(segment);
}

}  // namespace saga::store
