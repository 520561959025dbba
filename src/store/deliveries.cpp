#include "store/deliveries.hpp"

#include <algorithm>
#include <unordered_map>

#include "pg/identity.hpp"
#include "store/topics.hpp"

namespace saga::store {

namespace {

constexpr std::size_t kLanesMax = 4096;                // cached at most
constexpr std::size_t kResultsBytesMax = 1024 * 1024;  // results of a batch that are kept

#define SAGA_BOUND_COLUMNS                                                                                  \
  "SELECT generation, number, era, previous_snapshot, window_snapshot, last_position FROM saga.delivery_v1" \
  " WHERE subscription_id = $1 AND partition_number = $2::int2"

constinit pg::Statement kNewest{SAGA_BOUND_COLUMNS
                                " AND generation < $3 ORDER BY generation DESC, number DESC LIMIT 1"};
constinit pg::Statement kFrom{SAGA_BOUND_COLUMNS " AND generation = $3 AND number >= $4 ORDER BY number LIMIT 1"};
constinit pg::Statement kBefore{SAGA_BOUND_COLUMNS " AND generation = $3 AND number < $4 ORDER BY number DESC LIMIT 1"};

#undef SAGA_BOUND_COLUMNS

constinit pg::Statement kBatch{
    "SELECT finished_at, packed, results FROM saga.delivery_v1"
    " WHERE subscription_id = $1 AND partition_number = $2::int2 AND generation = $3 AND number = $4"};

constinit pg::Statement kTopicOf{"SELECT topic_id FROM saga.subscription WHERE subscription_id = $1"};

/// Where a batch ends.
struct Bound {
  int generation = 0;
  std::int64_t number = 0;
  int era = 1;
  domain::Snapshot previous = domain::Snapshot::none();
  domain::Snapshot window = domain::Snapshot::none();
  domain::Position last_position = 0;

  /// Whether the lane had passed the event when this batch was done.
  [[nodiscard]] bool covers(const LanePlace &event) const noexcept {
    if (era != event.era) return era > event.era;
    return previous.sees(event.xid) || (window.sees(event.xid) && event.position <= last_position);
  }
};

struct Batch {
  Bound bound;
  std::optional<Bound> before;  // the batch before it in its generation; none: it is the first
  TimestampTz finished_at = 0;
  std::vector<domain::Delivery> deliveries;  // ascending positions
  bool has_results = false;
  std::vector<char> results;  // jsonb; empty although has_results: too large to keep

  [[nodiscard]] bool spans(const LanePlace &event) const noexcept {
    return bound.covers(event) && !(before && before->covers(event));
  }
};

struct Generation {
  Bound newest;
  std::optional<Batch> batch;  // the last one that was looked at; rows are immutable, so it stays true
};

struct CachedLane {
  std::uint64_t seen_at = 0;            // serial of the snapshot that newest is of
  std::vector<Generation> generations;  // newest first
  std::uint64_t checked_at = 0;         // version of the settings at which the caller's right was checked
  Oid checked_role = InvalidOid;
};

std::unordered_map<std::uint64_t, CachedLane> &cache() {
  static auto *const lanes = new std::unordered_map<std::uint64_t, CachedLane>;  // never destroyed
  return *lanes;
}

CachedLane &cached(const Lane &lane) {
  const std::uint64_t key =
      (static_cast<std::uint64_t>(lane.subscription_id) << 16) | static_cast<std::uint16_t>(lane.partition);
  auto &lanes = cache();
  if (lanes.size() >= kLanesMax && !lanes.contains(key)) lanes.clear();
  return lanes[key];
}

pg::Param subscription(const Lane &lane) { return pg::param(lane.subscription_id); }
pg::Param partition(const Lane &lane) { return pg::param(std::int32_t{lane.partition}); }

std::optional<Bound> first_bound(const pg::Rows &rows) {
  if (rows.empty()) return std::nullopt;
  const pg::Row row = rows[0];
  return Bound{row.i32(1), row.i64(2), row.i32(3), pg::to_snapshot(row.datum(4)), pg::to_snapshot(row.datum(5)),
               row.i64(6)};
}

void require_reader(CachedLane &lane, int subscription_id) {
  const Oid role = GetUserId();
  if (lane.checked_role == role && lane.checked_at == config_version()) return;
  if (role != pg::extension_owner()) {
    std::optional<int> topic_id;
    {
      pg::OwnerScope owner;
      pg::Spi spi;
      const pg::Rows rows = pg::read(kTopicOf, {pg::param(subscription_id)});
      if (!rows.empty()) topic_id = rows[0].i32(1);
    }
    const std::vector<int> readable = readable_topics(role);
    if (!topic_id || std::find(readable.begin(), readable.end(), *topic_id) == readable.end()) {
      throw pg::Error{ERRCODE_INSUFFICIENT_PRIVILEGE,
                      "permission denied to see the deliveries of this consumer group",
                      {},
                      "Ask for a right on its topic: saga.grant_topic()."};
    }
  }
  lane.checked_role = role;
  lane.checked_at = config_version();
}

/// Brings the newest batch of every generation up to the active snapshot; batches at hand are kept.
void follow_snapshot(CachedLane &cached, const Lane &lane) {
  const std::uint64_t serial = pg::snapshot_serial();
  if (cached.seen_at == serial) return;
  std::vector<Generation> generations;
  {
    pg::OwnerScope owner;
    pg::Spi spi;
    int below = INT32_MAX;
    while (auto newest = first_bound(pg::read(kNewest, {subscription(lane), partition(lane), pg::param(below)}))) {
      below = newest->generation;
      generations.push_back({std::move(*newest), std::nullopt});
    }
  }
  for (Generation &generation : generations) {
    for (Generation &known : cached.generations) {
      if (known.newest.generation == generation.newest.generation) generation.batch = std::move(known.batch);
    }
  }
  cached.generations = std::move(generations);
  cached.seen_at = serial;
}

std::optional<Bound> bound_from(const Lane &lane, int generation, std::int64_t number) {
  return first_bound(pg::read(kFrom, {subscription(lane), partition(lane), pg::param(generation), pg::param(number)}));
}

std::optional<Bound> bound_before(const Lane &lane, int generation, std::int64_t number) {
  return first_bound(
      pg::read(kBefore, {subscription(lane), partition(lane), pg::param(generation), pg::param(number)}));
}

std::vector<domain::Delivery> unpacked(Datum packed) {
  const bytea *bytes = pg::call([&] { return DatumGetByteaPP(packed); });
  auto deliveries =
      domain::unpack({reinterpret_cast<const std::uint8_t *>(VARDATA_ANY(bytes)), VARSIZE_ANY_EXHDR(bytes)});
  if (!deliveries) throw pg::Error{ERRCODE_DATA_CORRUPTED, "a packed delivery row is damaged"};
  return std::move(*deliveries);
}

Batch load(const Lane &lane, Bound bound, std::optional<Bound> before) {
  Batch batch;
  const pg::Rows rows =
      pg::read(kBatch, {subscription(lane), partition(lane), pg::param(bound.generation), pg::param(bound.number)});
  if (rows.empty()) throw pg::Error{ERRCODE_DATA_CORRUPTED, "a delivery row is missing"};
  batch.finished_at = rows[0].time(1);
  batch.deliveries = unpacked(rows[0].datum(2));
  if (const auto results = rows[0].optional_datum(3)) {
    batch.has_results = true;
    const auto *document = pg::call([&] { return DatumGetJsonbP(*results); });
    if (VARSIZE(document) <= kResultsBytesMax) {
      const char *bytes = reinterpret_cast<const char *>(document);
      batch.results.assign(bytes, bytes + VARSIZE(document));
    }
  }
  batch.bound = std::move(bound);
  batch.before = std::move(before);
  return batch;
}

/// The first batch that covers the event, which the newest does.
Batch bisect(const Lane &lane, const Generation &generation, const LanePlace &event) {
  pg::OwnerScope owner;
  pg::Spi spi;
  const int g = generation.newest.generation;
  std::int64_t low = 0;                          // no batch up to this number covers the event
  std::int64_t high = generation.newest.number;  // from here on up to best there is no other batch
  Bound best = generation.newest;
  if (generation.batch && !generation.batch->bound.covers(event)) {
    // A scan goes forward: it is most likely the next one.
    auto next = bound_from(lane, g, generation.batch->bound.number + 1);
    if (next && next->covers(event)) return load(lane, std::move(*next), generation.batch->bound);
    low = generation.batch->bound.number;
  } else if (generation.batch && generation.batch->before) {
    best = *generation.batch->before;
    high = best.number;
  }
  while (high - low > 1) {
    const std::int64_t middle = low + (high - low) / 2;
    auto probe = bound_from(lane, g, middle);
    if (!probe) throw pg::Error{ERRCODE_DATA_CORRUPTED, "a delivery row is missing"};
    if (probe->covers(event)) {
      high = middle;
      best = std::move(*probe);
    } else {
      low = probe->number;
    }
  }
  auto before = bound_before(lane, g, best.number);
  return load(lane, std::move(best), std::move(before));
}

std::optional<Datum> member(const Jsonb *document, domain::Position position) {
  const std::string key = std::to_string(position);
  bool found = false;
  const Datum value = pg::call([&]() -> Datum {
    JsonbValue buffer;
    JsonbValue *entry = getKeyJsonValueFromContainer(&const_cast<Jsonb *>(document)->root, key.c_str(),
                                                     static_cast<int>(key.size()), &buffer);
    if (entry == nullptr) return Datum{0};
    found = true;
    return JsonbPGetDatum(JsonbValueToJsonb(entry));
  });
  if (!found) return std::nullopt;
  return value;
}

std::optional<Datum> result_of(const Lane &lane, const Batch &batch, domain::Position position) {
  if (!batch.has_results) return std::nullopt;
  if (!batch.results.empty()) return member(reinterpret_cast<const Jsonb *>(batch.results.data()), position);
  const MemoryContext callers = CurrentMemoryContext;
  pg::OwnerScope owner;
  pg::Spi spi;
  const pg::Rows rows = pg::read(
      kBatch, {subscription(lane), partition(lane), pg::param(batch.bound.generation), pg::param(batch.bound.number)});
  if (rows.empty()) return std::nullopt;
  const Datum results = rows[0].datum(3);
  const auto found = member(pg::call([&] { return DatumGetJsonbP(results); }), position);
  if (!found) return std::nullopt;
  pg::MemoryScope scope{callers};
  return pg::call([&] { return datumCopy(*found, false, -1); });
}

}  // namespace

std::optional<DeliveryFound> find_delivery(const LanePlace &place) {
  CachedLane &lane = cached(place.lane);
  require_reader(lane, place.lane.subscription_id);
  follow_snapshot(lane, place.lane);
  for (Generation &generation : lane.generations) {
    if (!generation.newest.covers(place)) continue;
    if (!generation.batch || !generation.batch->spans(place)) {
      Batch found = bisect(place.lane, generation, place);
      generation.batch = std::move(found);
    }
    const Batch &batch = *generation.batch;
    const auto at = std::lower_bound(batch.deliveries.begin(), batch.deliveries.end(), place.position,
                                     [](const domain::Delivery &d, domain::Position p) { return d.position < p; });
    if (at == batch.deliveries.end() || at->position != place.position) continue;
    return DeliveryFound{batch.bound.generation, batch.bound.number, batch.finished_at, at->processing_us,
                         result_of(place.lane, batch, place.position)};
  }
  return std::nullopt;
}

}  // namespace saga::store
