#include "store/progress.hpp"

namespace saga::store {

namespace {

constinit pg::Statement kNewest{
    "SELECT number, era, generation, window_done, previous_snapshot, window_snapshot, last_position, not_before,"
    "       delivered"
    "  FROM saga.progress_v1 WHERE subscription_id = $1 AND partition_number = $2::int2"
    " ORDER BY number DESC LIMIT 1"};

constinit pg::Statement kAppend{
    "INSERT INTO saga.progress_v1 (subscription_id, partition_number, number, era, generation, window_done,"
    "   previous_snapshot, window_snapshot, last_position, not_before, delivered)"
    " VALUES ($1, $2::int2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"};

constinit pg::Statement kTickAfter{
    "SELECT snapshot FROM saga.tick_v1 WHERE era = $1 AND next_xid > $2 ORDER BY next_xid LIMIT 1"};

constinit pg::Statement kLastTick{
    "SELECT snapshot FROM saga.tick_v1 WHERE era = $1 AND next_xid > $2 AND next_xid <= $3"
    " ORDER BY next_xid DESC LIMIT 1"};

constinit pg::Statement kTickBefore{
    "SELECT snapshot FROM saga.tick_v1 WHERE era = $1 AND taken_at <= $2 ORDER BY taken_at DESC LIMIT 1"};

constinit pg::Statement kAppendTick{
    "INSERT INTO saga.tick_v1 (next_xid, era, snapshot, taken_at)"
    " SELECT pg_catalog.pg_snapshot_xmax(s), $1, s, pg_catalog.clock_timestamp()"
    "   FROM pg_catalog.pg_current_snapshot() s"
    " ON CONFLICT DO NOTHING"};

std::optional<domain::Snapshot> first_snapshot(const pg::Rows &rows) {
  if (rows.empty()) return std::nullopt;
  return pg::to_snapshot(rows[0].datum(1));
}

}  // namespace

std::optional<Cursor> newest_cursor(const Lane &lane) {
  const pg::Rows rows = pg::run(kNewest, {pg::param(lane.subscription_id), pg::param(std::int32_t{lane.partition})});
  if (rows.empty()) return std::nullopt;
  const pg::Row row = rows[0];
  Cursor cursor;
  cursor.number = row.i64(1);
  cursor.era = row.i32(2);
  cursor.generation = row.i32(3);
  cursor.window_done = row.boolean(4);
  cursor.previous = pg::to_snapshot(row.datum(5));
  cursor.window = pg::to_snapshot(row.datum(6));
  cursor.last_position = row.i64(7);
  if (!row.is_null(8)) cursor.not_before = row.time(8);
  cursor.delivered = row.i64(9);
  if (cursor.window_done) cursor.previous = cursor.window;
  return cursor;
}

void enter_new_era(Cursor &cursor, int era) {
  // Its last window saw everything there was: see Window::newest() of the lane reader.
  if (!cursor.window_done || cursor.era == era || cursor.window.xmax() < kEndOfEra) return;
  cursor.era = era;
  cursor.previous = domain::Snapshot::none();
}

void append_cursor(const Lane &lane, const Cursor &cursor) {
  const pg::Rows rows = pg::run(
      kAppend, {pg::param(lane.subscription_id), pg::param(std::int32_t{lane.partition}), pg::param(cursor.number),
                pg::param(cursor.era), pg::param(cursor.generation), pg::param(cursor.window_done),
                pg::param(cursor.previous), pg::param(cursor.window), pg::param(cursor.last_position),
                cursor.not_before ? pg::param_time(*cursor.not_before) : pg::null_of(TIMESTAMPTZOID),
                pg::param(cursor.delivered)});
  if (rows.affected() != 1) throw pg::Error{ERRCODE_INTERNAL_ERROR, "the progress row was not written"};
}

std::optional<domain::Snapshot> tick_after(int era, domain::Xid xid) {
  return first_snapshot(pg::run(kTickAfter, {pg::param(era), pg::param_xid8(xid)}));
}

std::optional<domain::Snapshot> last_tick(int era, domain::Xid after, domain::Xid up_to) {
  return first_snapshot(pg::run(kLastTick, {pg::param(era), pg::param_xid8(after), pg::param_xid8(up_to)}));
}

std::optional<domain::Snapshot> tick_before(int era, TimestampTz time) {
  return first_snapshot(pg::run(kTickBefore, {pg::param(era), pg::param_time(time)}));
}

void append_tick(int era) { pg::run(kAppendTick, {pg::param(era)}); }

}  // namespace saga::store
