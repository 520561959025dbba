#include "store/staging.hpp"

#include "pg/identity.hpp"
#include "pg/transaction.hpp"

namespace saga::store {

namespace {

constinit pg::Statement kStage{
    "INSERT INTO saga.staged_v1 (event_id, slot, external_id, topic_id, publisher_oid, event_key, event_type, payload,"
    "   metadata, service_name, staged_at)"
    " VALUES ($1, $2::int2, $3, $4, $5::oid, $6, $7, $8, $9, $10, pg_catalog.clock_timestamp()) ON CONFLICT DO NOTHING"};

constinit pg::Statement kStaged{
    "SELECT topic_id = $2 AND event_key IS NOT DISTINCT FROM $3 AND event_type IS NOT DISTINCT FROM $4 AND payload = $5"
    "  FROM saga.staged_v1 WHERE event_id = $1"};

constinit pg::Statement kInvalid{
    "INSERT INTO saga.dead_letter_v1 (dead_letter_id, slot, topic_id, topic, event_id, external_id, event_key, event_type,"
    "   reason, sqlstate, error_message, attempts, first_failed_at, dead_at, payload, raw_text)"
    " VALUES ($1, $2::int2, $3, $4, $5, $6, $7, $8, 'invalid', 'SG001', $9, 0, pg_catalog.clock_timestamp(),"
    "   pg_catalog.clock_timestamp(), pg_catalog.to_jsonb($10::text), $10)"};

}  // namespace

void stage(const Topic &topic, Oid publisher, const NewEvent &event, const std::string &given_id) {
  pg::OwnerScope owner;
  pg::Spi spi;
  const auto key = pg::param(event.key, TEXTOID);
  const auto type = pg::param(event.type, TEXTOID);
  const auto payload = pg::param_jsonb(event.payload);
  const auto staged =
      pg::run(kStage, {pg::param(event.id), pg::param(std::int32_t{event.slot}), pg::param(event.external_id, TEXTOID),
                       pg::param(topic.id), pg::param(static_cast<std::int64_t>(publisher)), key, type, payload,
                       pg::param_jsonb(event.metadata), pg::param(event.service_name, TEXTOID)});
  if (staged.affected() == 1) return;
  const pg::Rows rows = pg::run(kStaged, {pg::param(event.id), pg::param(topic.id), key, type, payload});
  if (!rows.empty() && rows[0].boolean(1)) return;
  throw pg::Error{pg::kIdConflict,
                  "event " + pg::quoted(given_id) + " is staged already with other content",
                  {},
                  "Stage it under another id."};
}

JsonText parse_json(const std::string &text) {
  JsonText result;
  try {
    pg::Subtransaction subtransaction;
    result.document = pg::call([&] { return DirectFunctionCall1(jsonb_in, CStringGetDatum(text.c_str())); });
    subtransaction.commit();
  } catch (const pg::Error &error) {
    result.error = error.message() + (error.detail().empty() ? "" : ": " + error.detail());
  }
  return result;
}

void append_invalid(const Topic &topic, const InvalidEvent &event, const domain::Uuid &dead_letter_id) {
  pg::OwnerScope owner;
  pg::Spi spi;
  pg::run(kInvalid, {pg::param(dead_letter_id), pg::param(std::int32_t{event.slot}), pg::param(topic.id),
                     pg::param(std::string_view(topic.name)), pg::param(event.id), pg::param_text(event.external_id),
                     pg::param_text(event.key), pg::param_text(event.type), pg::param(std::string_view(event.error)),
                     pg::param(std::string_view(event.raw_text))});
}

}  // namespace saga::store
