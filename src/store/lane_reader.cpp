#include "store/lane_reader.hpp"

#include <algorithm>

namespace saga::store {

namespace {

constexpr std::size_t kChunkBytes = 4 * 1024 * 1024;
constexpr int kFetchStep = 128;
constexpr auto kFullChunk = static_cast<std::size_t>(kChunkEvents);
constexpr std::size_t kRunsMax = 1000;  // transactions of a window that are merged run by run

// Parameters of every read: 1 topic id, 2 partition (the lane of a total order: all of them), 3 era, 4 topic, 5
// consumer group, 6 event types, 7 limit.
#define SAGA_EVENT_OUTPUT                                                                                 \
  "SELECT e.\"position\", e.xid, e.event_id, e.slot, e.event_key, e.deliver_at, e.published_at, e.depth," \
  "  ROW(e.event_id, $4, e.event_key, e.event_type, e.payload,"                                           \
  "      coalesce(e.correlation_id, e.external_id, e.event_id::text), e.causation_id,"                    \
  "      coalesce(e.metadata, '{}'::jsonb), e.service_name, e.published_at, e.partition_number::int,"     \
  "      e.\"position\", $5, 1, NULL::text, NULL::int)::saga.event, e.external_id"
#define SAGA_LANE_FILTER                                             \
  "e.topic_id = $1 AND e.partition_number = $2::int2 AND e.era = $3" \
  " AND ($6::text[] IS NULL OR e.event_type = ANY ($6::text[]))"
#define SAGA_TOPIC_FILTER                                                    \
  "e.topic_id = $1 AND e.partition_number = ANY ($2::int2[]) AND e.era = $3" \
  " AND ($6::text[] IS NULL OR e.event_type = ANY ($6::text[]))"

// 8 first xid, 9 first xid beyond. In index order, which costs no sort.
constinit std::array kForward{
    pg::Statement{SAGA_EVENT_OUTPUT " FROM (SELECT * FROM saga.event_v1 e WHERE " SAGA_LANE_FILTER
                                    " AND e.xid >= $8 AND e.xid < $9 ORDER BY e.xid, e.\"position\" LIMIT $7) e"},
    pg::Statement{SAGA_EVENT_OUTPUT " FROM (SELECT * FROM saga.event_v1 e WHERE " SAGA_TOPIC_FILTER
                                    " AND e.xid >= $8 AND e.xid < $9 ORDER BY e.xid, e.\"position\" LIMIT $7) e"}};

// 8 transactions, 9 last position. A run per transaction, at most a chunk of each, merged by position.
constinit std::array kRuns{
    pg::Statement{SAGA_EVENT_OUTPUT " FROM (SELECT r.* FROM pg_catalog.unnest($8::xid8[]) x(xid) CROSS JOIN LATERAL ("
                                    "   SELECT * FROM saga.event_v1 e WHERE " SAGA_LANE_FILTER
                                    "     AND e.xid = x.xid AND e.\"position\" > $9 ORDER BY e.\"position\" LIMIT $7) r"
                                    "   ORDER BY r.\"position\" LIMIT $7) e"},
    pg::Statement{SAGA_EVENT_OUTPUT " FROM (SELECT r.* FROM pg_catalog.unnest($8::xid8[]) x(xid) CROSS JOIN LATERAL ("
                                    "   SELECT * FROM saga.event_v1 e WHERE " SAGA_TOPIC_FILTER
                                    "     AND e.xid = x.xid AND e.\"position\" > $9 ORDER BY e.\"position\" LIMIT $7) r"
                                    "   ORDER BY r.\"position\" LIMIT $7) e"}};

// 8 first xid, 9 first beyond, 10 window, 11 stragglers, 12 last position. For windows of very many transactions.
constinit std::array kSorted{
    pg::Statement{SAGA_EVENT_OUTPUT " FROM (SELECT * FROM (SELECT * FROM saga.event_v1 e WHERE " SAGA_LANE_FILTER
                                    "     AND e.xid >= $8 AND e.xid < $9 AND e.\"position\" > $12"
                                    "     AND pg_catalog.pg_visible_in_snapshot(e.xid, $10)"
                                    "   UNION ALL SELECT * FROM saga.event_v1 e WHERE " SAGA_LANE_FILTER
                                    "     AND e.xid = ANY ($11::xid8[]) AND e.\"position\" > $12) u"
                                    "   ORDER BY u.\"position\" LIMIT $7) e"},
    pg::Statement{SAGA_EVENT_OUTPUT " FROM (SELECT * FROM (SELECT * FROM saga.event_v1 e WHERE " SAGA_TOPIC_FILTER
                                    "     AND e.xid >= $8 AND e.xid < $9 AND e.\"position\" > $12"
                                    "     AND pg_catalog.pg_visible_in_snapshot(e.xid, $10)"
                                    "   UNION ALL SELECT * FROM saga.event_v1 e WHERE " SAGA_TOPIC_FILTER
                                    "     AND e.xid = ANY ($11::xid8[]) AND e.\"position\" > $12) u"
                                    "   ORDER BY u.\"position\" LIMIT $7) e"}};

#undef SAGA_EVENT_OUTPUT
#undef SAGA_LANE_FILTER
#undef SAGA_TOPIC_FILTER

// The distinct transactions of a range, by skipping from one to the next in the index.
// 1 topic id, 2 partition, 3 era, 4 first xid, 5 first beyond, 6 limit.
constinit std::array kTransactions{
    pg::Statement{
        "WITH RECURSIVE run(xid) AS ("
        " (SELECT e.xid FROM saga.event_v1 e WHERE e.topic_id = $1 AND e.partition_number = $2::int2 AND e.era = $3"
        "   AND e.xid >= $4 AND e.xid < $5 ORDER BY e.xid LIMIT 1)"
        " UNION ALL"
        " SELECT (SELECT e.xid FROM saga.event_v1 e WHERE e.topic_id = $1 AND e.partition_number = $2::int2"
        "   AND e.era = $3 AND e.xid > run.xid AND e.xid < $5 ORDER BY e.xid LIMIT 1) FROM run"
        "  WHERE run.xid IS NOT NULL)"
        "SELECT xid FROM run WHERE xid IS NOT NULL LIMIT $6"},
    pg::Statement{
        "SELECT DISTINCT e.xid FROM saga.event_v1 e WHERE e.topic_id = $1 AND e.partition_number = ANY ($2::int2[]) AND e.era = $3"
        "   AND e.xid >= $4 AND e.xid < $5 LIMIT $6"}};

constinit pg::Statement kCurrentSnapshot{"SELECT pg_catalog.pg_current_snapshot()"};

pg::Param xid_array(const std::vector<domain::Xid> &xids) {
  std::vector<Datum> values;
  values.reserve(xids.size());
  for (const domain::Xid xid : xids) values.push_back(UInt64GetDatum(xid));
  const int count = static_cast<int>(values.size());
  ArrayType *array = pg::call(
      [&] { return construct_array(values.data(), count, XID8OID, sizeof(std::uint64_t), true, TYPALIGN_DOUBLE); });
  return {get_array_type(XID8OID), PointerGetDatum(array), false};
}

pg::Param text_array(const std::optional<std::vector<std::string>> &texts) {
  if (!texts) return pg::null_of(TEXTARRAYOID);
  std::vector<Datum> values;
  for (const std::string &text : *texts) values.push_back(pg::text_datum(text));
  const int count = static_cast<int>(values.size());
  ArrayType *array = pg::call([&] { return construct_array(values.data(), count, TEXTOID, -1, false, TYPALIGN_INT); });
  return {TEXTARRAYOID, PointerGetDatum(array), false};
}

/// One lane between two snapshots, as the statements need it.
class Window {
 public:
  Window(const Subscription &subscription, const Lane &lane, const Cursor &cursor, MemoryContext memory)
      : subscription_(subscription),
        lane_(lane),
        cursor_(cursor),
        memory_(memory),
        form_(lane.partition < 0 ? 1U : 0U) {}

  Chunk read() {
    if (!cursor_.window_done) return read_part(cursor_.window);
    const domain::Snapshot now = newest();
    return read_forward(now);
  }

 private:
  /// What ends the newest window: the current snapshot. An era that is over has one window that sees all of it.
  domain::Snapshot newest() const {
    if (cursor_.era != installation().era) return *domain::Snapshot::parse("9223372036854775807:9223372036854775807:");
    return pg::to_snapshot(pg::run(kCurrentSnapshot, {})[0].datum(1));
  }

  pg::Param partition() const {
    if (lane_.partition >= 0) return pg::param(std::int32_t{lane_.partition});
    std::vector<Datum> all;
    for (int i = 0; i < subscription_.partitions; ++i) all.push_back(Int16GetDatum(static_cast<std::int16_t>(i)));
    const int count = subscription_.partitions;
    ArrayType *array = pg::call(
        [&] { return construct_array(all.data(), count, INT2OID, sizeof(std::int16_t), true, TYPALIGN_SHORT); });
    return {INT2ARRAYOID, PointerGetDatum(array), false};
  }

  /// The transactions that the previous snapshot saw running and that have ended since.
  std::vector<domain::Xid> stragglers(const domain::Snapshot &window) const {
    std::vector<domain::Xid> ended;
    for (const domain::Xid xid : cursor_.previous.running()) {
      if (window.sees(xid)) ended.push_back(xid);
    }
    return ended;
  }

  /// What is new, in one scan and without a sort in the server. A backlog ends its window at the last tick that the
  /// scan has covered, so that what was read is delivered and only the rest of a tick is read again.
  Chunk read_forward(const domain::Snapshot &now) {
    Chunk chunk;
    chunk.window = now;
    chunk.completes_window = true;
    const bool stopped = fetch(kForward[form_], chunk, now, kChunkEvents + 1,
                               {pg::param_xid8(cursor_.previous.xmax()), pg::param_xid8(now.xmax())});
    chunk.up_to_date = !stopped && chunk.scanned <= kFullChunk;
    if (!chunk.up_to_date) {
      auto tick = last_tick(cursor_.era, cursor_.previous.xmax(), scanned_to_);
      if (!tick) return read_large(now);
      chunk.window = std::move(*tick);
      std::erase_if(chunk.events, [&](const LaneEvent &e) { return !chunk.window.sees(e.xid); });
    }
    if (!add_stragglers(chunk)) return read_part(chunk.window);
    std::sort(chunk.events.begin(), chunk.events.end(),
              [](const LaneEvent &a, const LaneEvent &b) { return a.position < b.position; });
    return chunk;
  }

  /// False: they are too many for one chunk.
  bool add_stragglers(Chunk &chunk) {
    const std::vector<domain::Xid> late = stragglers(chunk.window);
    if (late.empty()) return true;
    const std::size_t before = chunk.scanned;
    const bool stopped =
        fetch(kRuns[form_], chunk, chunk.window, kChunkEvents, {xid_array(late), pg::param(std::int64_t{0})});
    return !stopped && chunk.scanned - before < kFullChunk;
  }

  /// More than a chunk between two ticks: the window ends at the next one and is read part by part.
  Chunk read_large(const domain::Snapshot &now) {
    const auto tick = tick_after(cursor_.era, scanned_to_);
    const bool usable = tick && tick->xmax() <= now.xmax();
    Chunk chunk = read_part(usable ? *tick : now);
    chunk.up_to_date = !usable;
    return chunk;
  }

  /// The next chunk of a window in position order, in bounded memory whatever the window's size.
  Chunk read_part(const domain::Snapshot &window) {
    Chunk chunk;
    chunk.window = window;
    const domain::Position last = cursor_.window_done ? 0 : cursor_.last_position;
    std::vector<domain::Xid> late = stragglers(window);
    std::vector<domain::Xid> runs = transactions(window);
    bool truncated = false;
    if (runs.size() + late.size() <= kRunsMax) {
      runs.insert(runs.end(), late.begin(), late.end());
      truncated = fetch(kRuns[form_], chunk, window, kChunkEvents, {xid_array(runs), pg::param(last)});
    } else {
      truncated = fetch(kSorted[form_], chunk, window, kChunkEvents,
                        {pg::param_xid8(cursor_.previous.xmax()), pg::param_xid8(window.xmax()), pg::param(window),
                         xid_array(late), pg::param(last)});
    }
    chunk.completes_window = !truncated && chunk.scanned < kFullChunk;
    return chunk;
  }

  /// At most kRunsMax + 1 transactions of the window.
  std::vector<domain::Xid> transactions(const domain::Snapshot &window) const {
    const pg::Rows rows =
        pg::run(kTransactions[form_], {pg::param(subscription_.topic_id), partition(), pg::param(cursor_.era),
                                       pg::param_xid8(cursor_.previous.xmax()), pg::param_xid8(window.xmax()),
                                       pg::param(static_cast<std::int32_t>(kRunsMax + 1))});
    std::vector<domain::Xid> found;
    for (std::uint64_t i = 0; i < rows.size(); ++i) {
      const domain::Xid xid = rows[i].xid8(1);
      if (rows.size() > kRunsMax || window.sees(xid)) found.push_back(xid);
    }
    return found;
  }

  /// Appends the rows of one statement to the chunk. True: it stopped early, because of their size.
  bool fetch(pg::Statement &statement, Chunk &chunk, const domain::Snapshot &window, int limit,
             std::initializer_list<pg::Param> own) {
    std::vector<pg::Param> params{pg::param(subscription_.topic_id),
                                  partition(),
                                  pg::param(cursor_.era),
                                  pg::param(std::string_view(subscription_.topic)),
                                  pg::param(std::string_view(subscription_.consumer_group)),
                                  text_array(subscription_.event_types),
                                  pg::param(std::int32_t{limit})};
    params.insert(params.end(), own.begin(), own.end());
    pg::CursorScan scan{statement, params};
    std::size_t bytes = 0;
    for (;;) {
      const pg::Rows rows = scan.next(kFetchStep);
      for (std::uint64_t i = 0; i < rows.size(); ++i) bytes += add(chunk, window, rows[i]);
      if (rows.size() < static_cast<std::uint64_t>(kFetchStep)) return false;
      if (bytes > kChunkBytes) return true;
    }
  }

  std::size_t add(Chunk &chunk, const domain::Snapshot &window, const pg::Row &row) {
    ++chunk.scanned;
    chunk.last_scanned = row.i64(1);
    LaneEvent event;
    event.xid = row.xid8(2);
    scanned_to_ = event.xid;
    if (!window.sees(event.xid)) return 0;
    event.published_at = row.time(7);
    if (cursor_.not_before && event.published_at < *cursor_.not_before) return 0;
    event.position = row.i64(1);
    event.id = row.uuid(3);
    event.slot = static_cast<std::uint16_t>(row.i16(4));
    event.key = row.optional_text(5);
    if (!row.is_null(6)) event.deliver_at = row.time(6);
    event.depth = row.i16(8);
    event.external_id = row.optional_text(10);
    const Datum composite = row.datum(9);
    {
      pg::MemoryScope scope{memory_};
      event.event = pg::call([&] { return datumCopy(composite, false, -1); });
    }
    chunk.events.push_back(std::move(event));
    return VARSIZE_ANY(DatumGetPointer(composite));
  }

  const Subscription &subscription_;
  const Lane &lane_;
  const Cursor &cursor_;
  MemoryContext memory_;
  domain::Xid scanned_to_ = 0;  // of the row read last
  std::size_t form_;            // 0: one partition, 1: all of the topic
};

}  // namespace

Chunk read_lane(const Subscription &subscription, const Lane &lane, const Cursor &cursor, MemoryContext memory) {
  return Window{subscription, lane, cursor, memory}.read();
}

}  // namespace saga::store
