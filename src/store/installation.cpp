#include "store/installation.hpp"

#include "store/segments.hpp"

namespace saga::store {

namespace {

constexpr std::string_view kLibraryVersion = "1.0.0";

constinit pg::Statement kClaim{
    "INSERT INTO saga.installation (system_identifier, database_oid, era, library_version) VALUES ($1, $2, 1, $3)"
    " ON CONFLICT DO NOTHING"};
constinit pg::Statement kIdentity{"SELECT system_identifier = $1 AND database_oid = $2 FROM saga.installation"};
constinit pg::Statement kRow{
    "SELECT (pg_catalog.to_jsonb(i) - 'only_row' - 'library_version')::text FROM saga.installation i"};
constinit pg::Statement kHasGuard{"SELECT pg_catalog.to_regclass('saga.drop_extension_guard') IS NOT NULL"};

constinit pg::Statement kPause{"UPDATE saga.installation SET paused_reason = $1"};
constinit pg::Statement kResume{"UPDATE saga.installation SET paused_reason = NULL"};
constinit pg::Statement kTakeOver{
    "UPDATE saga.installation SET paused_reason = NULL, system_identifier = $1, database_oid = $2, era = era + 1"};
// A role that does not exist here keeps its old number, which then fits nobody.
constinit std::array kFindRoles{
    pg::Statement{"UPDATE saga.topic t SET owner_oid = r.oid::int8 FROM pg_catalog.pg_roles r"
                  " WHERE r.rolname = t.owner_name AND r.oid::int8 <> t.owner_oid"},
    pg::Statement{"UPDATE saga.topic_grant g SET role_oid = r.oid::int8 FROM pg_catalog.pg_roles r"
                  " WHERE r.rolname = g.role_name AND r.oid::int8 <> g.role_oid"},
    pg::Statement{"UPDATE saga.subscription s SET run_as_oid = r.oid::int8 FROM pg_catalog.pg_roles r"
                  " WHERE r.rolname = s.run_as AND r.oid::int8 <> s.run_as_oid"}};

constinit pg::Statement kTables{
    "SELECT pg_catalog.string_agg(c.oid::pg_catalog.regclass::text, ', ')"
    "  FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_class c ON c.oid = d.objid"
    " WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.deptype = 'e' AND c.relkind = 'r'"
    "   AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass"
    "   AND d.refobjid = (SELECT oid FROM pg_catalog.pg_extension WHERE extname = 'pg_saga')"};

pg::Param system_identifier() { return pg::param(static_cast<std::int64_t>(GetSystemIdentifier())); }
pg::Param database_oid() { return pg::param(std::int64_t{MyDatabaseId}); }

std::optional<bool> identity() {
  const pg::Rows rows = pg::run(kIdentity, {system_identifier(), database_oid()});
  if (rows.empty()) return std::nullopt;
  return rows[0].boolean(1);
}

}  // namespace

bool identity_matches() { return identity().value_or(false); }

void require_identity() {
  if (identity().value_or(true)) return;
  throw pg::Error{pg::kPaused, "this database is a copy of another one, and pg_saga is paused in it",
                  "The installation was made in another database or on another server.",
                  "SELECT saga.resume_all('reason') makes it an installation of its own."};
}

void claim_installation() {
  pg::run(kClaim, {system_identifier(), database_oid(), pg::param(kLibraryVersion)});
  require_identity();
  if (pg::run(kHasGuard, {})[0].boolean(1)) return;
  pg::run_once("CREATE VIEW saga.drop_extension_guard AS SELECT saga.guard_data() AS note");
  pg::run_once("COMMENT ON VIEW saga.drop_extension_guard IS 'Keeps DROP EXTENSION pg_saga from dropping all events.'");
}

void pause_installation(std::string_view reason) {
  config_changed();
  pg::run(kPause, {pg::param(reason)});
}

void resume_installation() {
  config_changed();
  if (identity().value_or(true)) {
    pg::run(kResume, {});
    return;
  }
  pg::run(kTakeOver, {system_identifier(), database_oid()});
  for (pg::Statement &statement : kFindRoles) pg::run(statement, {});
}

std::optional<std::string> installation_row() {
  const pg::Rows rows = pg::run(kRow, {});
  if (rows.empty()) return std::nullopt;
  return rows[0].text(1);
}

void remove_all_data() {
  pg::run_once("DROP VIEW IF EXISTS saga.drop_extension_guard");
  drop_all_segments();
  config_changed();
  pg::run_once("TRUNCATE " + pg::run(kTables, {})[0].text(1));
}

}  // namespace saga::store
