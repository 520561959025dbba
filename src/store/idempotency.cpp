#include "store/idempotency.hpp"

#include "pg/identity.hpp"

namespace saga::store {

namespace {

constinit pg::Statement kRemember{
    "INSERT INTO saga.idempotency_v1 (slot, publisher_oid, topic_id, given_id, event_id, fingerprint, created_at)"
    " VALUES ($1::int2, $2::oid, $3, $4, $5, $6, pg_catalog.now()) ON CONFLICT DO NOTHING"};

// Any slot: the same id with another key lies in another slot and is a conflict too.
constinit pg::Statement kKnown{
    "SELECT fingerprint = $4 FROM saga.idempotency_v1"
    " WHERE slot = $5::int2 AND publisher_oid = $1::oid AND topic_id = $2 AND given_id = $3"};

}  // namespace

bool remember_id(const Topic &topic, Oid publisher, const GivenId &id) {
  pg::OwnerScope owner;
  pg::Spi spi;
  const auto publisher_param = pg::param(static_cast<std::int64_t>(publisher));
  const auto slot = pg::param(std::int32_t{id.slot});
  const std::vector<std::uint8_t> print(id.fingerprint.bytes.begin(), id.fingerprint.bytes.end());
  const auto fingerprint = pg::param_bytes(print);
  const auto given = pg::param(std::string_view(id.given));
  if (pg::run(kRemember, {slot, publisher_param, pg::param(topic.id), given, pg::param(id.event_id), fingerprint})
          .affected() == 1) {
    return true;
  }
  const pg::Rows rows = pg::run(kKnown, {publisher_param, pg::param(topic.id), given, fingerprint, slot});
  if (!rows.empty() && rows[0].boolean(1)) return false;
  throw pg::Error{pg::kIdConflict, "id " + pg::quoted(id.given) + " was used for another event of topic " + pg::quoted(topic.name),
                  "An id or idempotency key that is repeated must come with the same topic, key, type and payload.",
                  "Use a new id for a new event; see the first one with saga.event_status('" + id.given + "')."};
}

}  // namespace saga::store
