#include "store/event_log.hpp"

#include <algorithm>
#include <numeric>

#include "domain/slot.hpp"
#include "pg/compat.hpp"
#include "pg/memory.hpp"

namespace saga::store {

namespace {

// The columns of saga.event_v1, in their order. The layout version is part of the table's name: a table of
// another layout has another name.
enum Column : std::size_t {
  kXid,
  kPosition,
  kPublishedAt,
  kDeliverAt,
  kEventId,
  kSegmentId,
  kTopicId,
  kPublisher,
  kEra,
  kPartition,
  kSlot,
  kDepth,
  kKey,
  kType,
  kPayload,
  kServiceName,
  kCorrelationId,
  kCausationId,
  kExternalId,
  kMetadata,
  kColumns
};

struct EventRow {
  std::array<Datum, kColumns> values;
  std::array<bool, kColumns> nulls;
};
static_assert(std::is_trivially_destructible_v<EventRow>);

/// A counter of the server that is drawn at the call and never cached.
Oid position_sequence() {
  static std::uint64_t looked_up_at = 0;
  static Oid sequence = InvalidOid;
  const std::uint64_t version = config_version();
  if (looked_up_at != version) {
    sequence = pg::call([] { return get_relname_relid("position_seq", get_namespace_oid("saga", false)); });
    looked_up_at = version;
  }
  return sequence;
}

void set_text(EventRow &row, Column column, const std::optional<std::string_view> &value) {
  row.nulls[column] = !value.has_value();
  row.values[column] = value ? pg::text_datum(*value) : Datum{0};
}

EventRow make_row(const Topic &topic, const NewEvent &event, std::int16_t partition, TimestampTz now) {
  EventRow row{};
  row.values[kPublishedAt] = TimestampTzGetDatum(now);
  row.values[kDeliverAt] = TimestampTzGetDatum(event.deliver_at.value_or(0));
  row.nulls[kDeliverAt] = !event.deliver_at.has_value();
  row.values[kEventId] = pg::uuid_datum(event.id);
  row.values[kSegmentId] = Int32GetDatum(topic.segment);
  row.values[kTopicId] = Int32GetDatum(topic.id);
  row.values[kPublisher] = ObjectIdGetDatum(GetUserId());
  row.values[kEra] = Int32GetDatum(installation().era);
  row.values[kPartition] = Int16GetDatum(partition);
  row.values[kSlot] = Int16GetDatum(static_cast<std::int16_t>(event.slot));
  row.values[kDepth] = Int16GetDatum(event.depth);
  set_text(row, kKey, event.key);
  set_text(row, kType, event.type);
  row.values[kPayload] = event.payload;
  set_text(row, kServiceName, event.service_name);
  set_text(row, kCorrelationId, event.correlation_id);
  set_text(row, kCausationId, event.causation_id);
  set_text(row, kExternalId, event.external_id);
  row.values[kMetadata] = event.metadata.value_or(Datum{0});
  row.nulls[kMetadata] = !event.metadata.has_value();
  return row;
}

constexpr std::size_t kSlotsMax = 128;  // rows that go into the heap with one call

struct InsertPlan {
  EventRow *rows;              // in call order
  const std::uint32_t *order;  // in which they go into the table
  std::size_t count;
};

/// Position and xid are set at the last moment, in call order.
void draw_positions(const InsertPlan &plan, Oid sequence) {
  const FullTransactionId xid = GetTopFullTransactionId();
  for (std::size_t i = 0; i < plan.count; ++i) {
    plan.rows[i].values[kXid] = FullTransactionIdGetDatum(xid);
    plan.rows[i].values[kPosition] = Int64GetDatum(nextval_internal(sequence, false));
  }
}

void fill_slot(TupleTableSlot *slot, const EventRow &row) {
  ExecClearTuple(slot);
  std::memcpy(slot->tts_values, row.values.data(), sizeof(Datum) * kColumns);
  std::memcpy(slot->tts_isnull, row.nulls.data(), sizeof(bool) * kColumns);
  ExecStoreVirtualTuple(slot);
}

/// The rows go into the heap and all its indexes, those of a lane side by side: readers and the lane's index then find
/// them on the same pages.
void insert_rows(Relation leaf, const InsertPlan &plan, Oid sequence) {
  draw_positions(plan, sequence);
  EState *estate = CreateExecutorState();
  ResultRelInfo *target = makeNode(ResultRelInfo);
  InitResultRelInfo(target, leaf, 0, nullptr, 0);
  ExecOpenIndices(target, false);
  const CommandId command = GetCurrentCommandId(true);
  const std::size_t slot_count = std::min(plan.count, kSlotsMax);
  auto **slots = static_cast<TupleTableSlot **>(palloc(sizeof(TupleTableSlot *) * slot_count));
  for (std::size_t i = 0; i < slot_count; ++i) slots[i] = table_slot_create(leaf, nullptr);
  BulkInsertState bulk = plan.count > 100 ? GetBulkInsertState() : nullptr;
  for (std::size_t done = 0; done < plan.count; done += slot_count) {
    const std::size_t part = std::min(slot_count, plan.count - done);
    for (std::size_t i = 0; i < part; ++i) fill_slot(slots[i], plan.rows[plan.order[done + i]]);
    if (part == 1) {
      table_tuple_insert(leaf, slots[0], command, 0, bulk);
    } else {
      table_multi_insert(leaf, slots, static_cast<int>(part), command, 0, bulk);
    }
    for (std::size_t i = 0; i < part; ++i) {
      pg::compat::insert_index_entries(target, slots[i], estate);
      ResetPerTupleExprContext(estate);
    }
  }
  if (bulk != nullptr) FreeBulkInsertState(bulk);
  for (std::size_t i = 0; i < slot_count; ++i) ExecDropSingleTupleTableSlot(slots[i]);
  ExecCloseIndices(target);
  FreeExecutorState(estate);
}

[[noreturn]] void storage_missing(const Topic &topic) {
  throw pg::Error{ERRCODE_UNDEFINED_TABLE,
                  "topic " + pg::quoted(topic.name) + " has no storage",
                  {},
                  "Run CALL saga.run_maintenance()."};
}

/// The topic and its open leaf as one consistent pair: opening takes a lock, and with it the news of others.
struct OpenLeaf {
  const Topic *topic;
  Relation relation;
};

OpenLeaf open_leaf(const std::string &topic_name) {
  for (;;) {
    const Topic &found = topic(topic_name);
    const std::uint64_t version = config_version();
    if (!OidIsValid(found.event_leaf)) storage_missing(found);
    Relation relation = pg::call([&] { return try_table_open(found.event_leaf, RowExclusiveLock); });
    if (relation != nullptr && config_version() == version) return {&found, relation};
    if (relation != nullptr) pg::call([&] { table_close(relation, RowExclusiveLock); });
  }
}

}  // namespace

std::uint16_t slot_of_event(const domain::Uuid &id, const std::optional<std::string_view> &key) {
  if (key) return domain::slot_of(*key);
  return domain::slot_of({reinterpret_cast<const char *>(id.bytes.data()), id.bytes.size()});
}

std::vector<std::int16_t> append(const std::string &topic_name, const std::vector<NewEvent> &events) {
  const OpenLeaf leaf = open_leaf(topic_name);
  const Oid sequence = position_sequence();
  const TimestampTz now = GetCurrentTimestamp();
  std::vector<std::int16_t> partitions;
  std::vector<EventRow> rows;
  partitions.reserve(events.size());
  rows.reserve(events.size());
  for (const NewEvent &event : events) {
    const auto partition = static_cast<std::int16_t>(domain::partition_of(event.slot, leaf.topic->partitions));
    partitions.push_back(partition);
    rows.push_back(make_row(*leaf.topic, event, partition, now));
  }
  std::vector<std::uint32_t> order(rows.size());
  std::iota(order.begin(), order.end(), 0U);
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return partitions[a] < partitions[b]; });
  const InsertPlan plan{rows.data(), order.data(), rows.size()};
  try {
    pg::call([&] {
      insert_rows(leaf.relation, plan, sequence);
      table_close(leaf.relation, NoLock);
    });
  } catch (const pg::Error &error) {
    if (error.code() != ERRCODE_UNIQUE_VIOLATION) throw;
    throw pg::Error{
        pg::kIdConflict, "an event with this id is in the log of topic " + pg::quoted(leaf.topic->name) + " already",
        error.detail(),
        "Use another event id or idempotency key: this one belongs to another publisher or an earlier topic."};
  }
  return partitions;
}

}  // namespace saga::store
