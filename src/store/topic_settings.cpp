#include "store/topic_settings.hpp"

#include "pg/identity.hpp"
#include "store/segments.hpp"

namespace saga::store {

namespace {

constinit pg::Statement kInsertTopic{
    "INSERT INTO saga.topic (topic_id, topic, partitions, retention, on_invalid, envelope, owner_name, owner_oid,"
    "   created_at)"
    " VALUES (pg_catalog.nextval('saga.topic_id_seq'), $1, $2, $3, $4, $5, $6, $7, pg_catalog.clock_timestamp())"
    " ON CONFLICT (topic) DO NOTHING"};
constinit pg::Statement kTopicRow{
    "SELECT (pg_catalog.to_jsonb(t) - ARRAY['topic_id', 'owner_oid', 'created_at'])::text FROM saga.topic t"
    " WHERE topic_id = $1"};
constinit pg::Statement kUpdateTopic{
    "UPDATE saga.topic SET retention = coalesce($2, retention), on_invalid = coalesce($3, on_invalid)"
    " WHERE topic_id = $1 RETURNING retention"};

constinit pg::Statement kReasonToKeep{
    "SELECT CASE WHEN g.list IS NOT NULL THEN 'It has the consumer groups ' || g.list || '.'"
    "            WHEN EXISTS (SELECT FROM saga.event_v1 WHERE topic_id = $1) THEN 'It holds events.'"
    "            WHEN EXISTS (SELECT FROM saga.staged_v1 WHERE topic_id = $1) THEN 'It holds staged events.' END"
    "  FROM (SELECT pg_catalog.string_agg(pg_catalog.quote_literal(consumer_group), ', ' ORDER BY consumer_group) AS list"
    "          FROM saga.subscription WHERE topic_id = $1) g"};

constinit pg::Statement kRolesOfTopic{
    "SELECT role_oid, role_name FROM saga.topic_grant WHERE topic_id = $1"
    " UNION SELECT owner_oid, owner_name FROM saga.topic WHERE topic_id = $1 ORDER BY 2"};
// Parked events first: a worker locks them before it writes its cursor.
constinit std::array kDeleteTopic{pg::Statement{"DELETE FROM saga.parked_v1 WHERE topic_id = $1"},
                                  pg::Statement{"DELETE FROM saga.progress_v1 WHERE subscription_id IN"
                                                " (SELECT subscription_id FROM saga.subscription WHERE topic_id = $1)"},
                                  pg::Statement{"DELETE FROM saga.subscription WHERE topic_id = $1"},
                                  pg::Statement{"DELETE FROM saga.staged_v1 WHERE topic_id = $1"},
                                  pg::Statement{"DELETE FROM saga.topic_grant WHERE topic_id = $1"},
                                  pg::Statement{"DELETE FROM saga.topic WHERE topic_id = $1"}};

constinit pg::Statement kLockGrants{"LOCK TABLE saga.topic_grant IN SHARE ROW EXCLUSIVE MODE"};
constinit pg::Statement kGrant{
    "INSERT INTO saga.topic_grant AS g (topic_id, role_name, role_oid, can_publish, can_subscribe, can_operate)"
    " VALUES ($1, $2, $3, $4, $5, $6)"
    " ON CONFLICT (topic_id, role_name) DO UPDATE SET role_oid = excluded.role_oid,"
    // A row that a dropped role of this name left behind counts for nothing.
    "   can_publish = excluded.can_publish OR g.role_oid = excluded.role_oid AND g.can_publish,"
    "   can_subscribe = excluded.can_subscribe OR g.role_oid = excluded.role_oid AND g.can_subscribe,"
    "   can_operate = excluded.can_operate OR g.role_oid = excluded.role_oid AND g.can_operate"};
constinit pg::Statement kRevoke{
    "UPDATE saga.topic_grant SET can_publish = can_publish AND NOT $3, can_subscribe = can_subscribe AND NOT $4,"
    "   can_operate = can_operate AND NOT $5"
    " WHERE topic_id = $1 AND role_oid = $2"};
constinit pg::Statement kDropEmptyGrants{
    "DELETE FROM saga.topic_grant WHERE NOT (can_publish OR can_subscribe OR can_operate)"};
constinit pg::Statement kRightsRow{
    "SELECT (pg_catalog.to_jsonb(g) - ARRAY['topic_id', 'role_oid'])::text FROM saga.topic_grant g"
    " WHERE topic_id = $1 AND role_oid = $2"};

// The GRANT and REVOKE statements that make the role's privileges what its rights need. An owner of a topic has all
// rights; whoever may create topics keeps the schema.
constinit pg::Statement kPrivilegeChanges{
    "WITH held AS (SELECT r.access_right FROM (VALUES ('publish'), ('subscribe'), ('operate')) AS r (access_right)"
    "   WHERE EXISTS (SELECT FROM saga.topic t WHERE t.owner_oid = $1)"
    "      OR EXISTS (SELECT FROM saga.topic_grant g WHERE g.role_oid = $1"
    "           AND CASE r.access_right WHEN 'publish' THEN g.can_publish WHEN 'subscribe' THEN g.can_subscribe"
    "                                   ELSE g.can_operate END)),"
    " objects AS ("
    "  SELECT 1 AS place, 'SCHEMA' AS kind, 'saga' AS name, 'USAGE' AS privilege, n.nspacl AS acl,"
    "         EXISTS (SELECT FROM held) OR pg_catalog.has_function_privilege($1::oid,"
    "           (SELECT p.oid FROM pg_catalog.pg_proc p WHERE p.pronamespace = n.oid AND p.proname = 'create_topic'),"
    "           'EXECUTE') AS wanted"
    "    FROM pg_catalog.pg_namespace n WHERE n.nspname = 'saga'"
    "  UNION ALL SELECT 2, 'TYPE', 'saga.event', 'USAGE', t.typacl, EXISTS (SELECT FROM held WHERE access_right = 'subscribe')"
    "    FROM pg_catalog.pg_type t WHERE t.oid = 'saga.event'::pg_catalog.regtype"
    "  UNION ALL SELECT 3, 'ROUTINE', f.oid::pg_catalog.regprocedure::text, 'EXECUTE', f.proacl,"
    "         f.oid IN (SELECT pg_catalog.unnest(saga.functions_of_right(access_right))::oid FROM held)"
    "    FROM pg_catalog.pg_proc f WHERE f.oid IN ("
    "         SELECT pg_catalog.unnest(saga.functions_of_right(a))::oid"
    "           FROM pg_catalog.unnest(ARRAY['publish', 'subscribe', 'operate']) a)"
    "  UNION ALL SELECT 4, 'TABLE', v.oid::pg_catalog.regclass::text, 'SELECT', v.relacl,"
    "         v.oid IN (SELECT pg_catalog.unnest(saga.views_of_right(access_right))::oid FROM held)"
    "    FROM pg_catalog.pg_class v WHERE v.oid IN ("
    "         SELECT pg_catalog.unnest(saga.views_of_right(a))::oid"
    "           FROM pg_catalog.unnest(ARRAY['publish', 'subscribe', 'operate']) a)),"
    " compared AS (SELECT o.*, EXISTS (SELECT FROM pg_catalog.aclexplode(o.acl) x"
    "                 WHERE x.grantee = $1::oid AND x.privilege_type = o.privilege) AS present FROM objects o)"
    " SELECT CASE WHEN wanted THEN pg_catalog.format('GRANT %s ON %s %s TO %I', privilege, kind, name, $2)"
    "             ELSE pg_catalog.format('REVOKE %s ON %s %s FROM %I', privilege, kind, name, $2) END"
    "   FROM compared WHERE wanted <> present ORDER BY place, name"};

pg::Param oid_param(Oid oid) { return pg::param(std::int64_t{oid}); }

bool needs_no_privileges(Oid role) {
  return role == pg::extension_owner() || pg::call([&] { return superuser_arg(role); });
}

bool role_exists(Oid role, std::string_view name) {
  const auto found = pg::role_name(role);
  return found && *found == name;
}

}  // namespace

bool insert_topic(const NewTopic &topic) {
  config_changed();
  const pg::Rows rows =
      pg::run(kInsertTopic, {pg::param(topic.name), pg::param(topic.partitions), pg::param_interval(topic.retention),
                             pg::param(topic.on_invalid), pg::param(topic.envelope), pg::param(topic.owner_name),
                             oid_param(topic.owner)});
  if (rows.affected() == 0) return false;
  ensure_segment(topic.retention);
  synchronise_privileges(topic.owner, topic.owner_name);
  return true;
}

std::string topic_row(int topic_id) { return pg::run(kTopicRow, {pg::param(topic_id)})[0].text(1); }

void update_topic(int topic_id, const std::optional<Interval> &retention,
                  const std::optional<std::string> &on_invalid) {
  config_changed();
  const pg::Rows rows =
      pg::run(kUpdateTopic, {pg::param(topic_id), retention ? pg::param_interval(*retention) : pg::null_of(INTERVALOID),
                             pg::param_text(on_invalid)});
  if (!rows.empty()) ensure_segment(*DatumGetIntervalP(rows[0].datum(1)));
}

std::string reason_to_keep_topic(int topic_id) {
  return pg::run(kReasonToKeep, {pg::param(topic_id)})[0].optional_text(1).value_or("");
}

void delete_topic(int topic_id) {
  const pg::Rows roles = pg::run(kRolesOfTopic, {pg::param(topic_id)});
  config_changed();
  for (pg::Statement &statement : kDeleteTopic) pg::run(statement, {pg::param(topic_id)});
  for (std::uint64_t i = 0; i < roles.size(); ++i) {
    synchronise_privileges(static_cast<Oid>(roles[i].i64(1)), roles[i].text(2));
  }
}

void grant_rights(int topic_id, Oid role, std::string_view role_name, const Rights &rights) {
  config_changed();
  pg::run(kLockGrants, {});
  pg::run(kGrant, {pg::param(topic_id), pg::param(role_name), oid_param(role), pg::param(rights.publish),
                   pg::param(rights.subscribe), pg::param(rights.operate)});
  synchronise_privileges(role, role_name);
}

void revoke_rights(int topic_id, Oid role, std::string_view role_name, const Rights &rights) {
  config_changed();
  pg::run(kLockGrants, {});
  pg::run(kRevoke, {pg::param(topic_id), oid_param(role), pg::param(rights.publish), pg::param(rights.subscribe),
                    pg::param(rights.operate)});
  pg::run(kDropEmptyGrants, {});
  synchronise_privileges(role, role_name);
}

void synchronise_privileges(Oid role, std::string_view role_name) {
  if (!role_exists(role, role_name) || needs_no_privileges(role)) return;
  pg::run(kLockGrants, {});  // two sessions that change the privileges of one function at once would fail
  const pg::Rows changes = pg::run(kPrivilegeChanges, {oid_param(role), pg::param(role_name)});
  for (std::uint64_t i = 0; i < changes.size(); ++i) pg::run_once(changes[i].text(1));
}

std::optional<std::string> rights_row(int topic_id, Oid role) {
  const pg::Rows rows = pg::run(kRightsRow, {pg::param(topic_id), oid_param(role)});
  if (rows.empty()) return std::nullopt;
  return rows[0].text(1);
}

}  // namespace saga::store
