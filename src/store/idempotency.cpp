#include "store/idempotency.hpp"

#include "pg/identity.hpp"
#include "store/event_log.hpp"

namespace saga::store {

namespace {

constinit pg::Statement kRemember{
    "INSERT INTO saga.idempotency_v1 (slot, publisher_oid, topic_id, given_id, event_id, fingerprint, created_at)"
    " VALUES ($1::int2, $2::oid, $3, $4, $5, $6, pg_catalog.now()) ON CONFLICT DO NOTHING"};

constinit pg::Statement kKnown{
    "SELECT i.topic_id = $2 AND i.fingerprint = $4, t.topic FROM saga.idempotency_v1 i JOIN saga.topic t USING (topic_id)"
    " WHERE i.slot = $5::int2 AND i.publisher_oid = $1::oid AND i.given_id = $3 AND (i.topic_id = $2) = $6 LIMIT 1"};

[[noreturn]] void used_before(const GivenId &id, const std::string &topic) {
  throw pg::Error{pg::kIdConflict,
                  std::string(id.kind == GivenId::Kind::Key ? "idempotency key " : "event id ") + pg::quoted(id.given) +
                      " was used for another event of topic " + pg::quoted(topic),
                  "An id or idempotency key that is repeated must come with the same topic, key, type and payload.",
                  "Use a new one for a new event."};
}

}  // namespace

bool remember_id(const Topic &topic, Oid publisher, const GivenId &id) {
  pg::OwnerScope owner;
  pg::Spi spi;
  // The slot of the id, not of the key: a repeat that comes with another key must meet the first one.
  const auto slot = pg::param(std::int32_t{slot_of_event(id.event_id, std::nullopt)});
  const auto publisher_param = pg::param(static_cast<std::int64_t>(publisher));
  const std::vector<std::uint8_t> print(id.fingerprint.bytes.begin(), id.fingerprint.bytes.end());
  const auto fingerprint = pg::param_bytes(print);
  const auto given = pg::param(std::string_view((id.kind == GivenId::Kind::Key ? "key:" : "id:") + id.given));
  const auto topic_id = pg::param(topic.id);
  if (id.kind == GivenId::Kind::EventId) {
    const pg::Rows elsewhere = pg::run(kKnown, {publisher_param, topic_id, given, fingerprint, slot, pg::param(false)});
    if (!elsewhere.empty()) used_before(id, elsewhere[0].optional_text(2).value_or("that was dropped"));
  }
  if (pg::run(kRemember, {slot, publisher_param, topic_id, given, pg::param(id.event_id), fingerprint}).affected() ==
      1) {
    return true;
  }
  const pg::Rows rows = pg::run(kKnown, {publisher_param, topic_id, given, fingerprint, slot, pg::param(true)});
  if (!rows.empty() && rows[0].boolean(1)) return false;
  used_before(id, topic.name);
}

}  // namespace saga::store
