// Topics, the rights on them, and the storage segment that new rows of a topic go to: read through a cache
// of the process that follows every change.
#pragma once

#include "store/config.hpp"

namespace saga::store {

enum class Right : std::uint8_t { Publish, Subscribe, Operate };

struct Topic {
  int id = 0;
  std::string name;
  std::uint16_t partitions = 1;
  bool reject_invalid = false;  // on_invalid => 'reject'
  bool envelope = false;
  Oid owner = InvalidOid;
  int segment = 0;  // where new rows go
  Oid event_leaf = InvalidOid;
};

/// What the rest of the engine must know of this installation.
struct Installation {
  int era = 1;
  bool runnable = false;  // identity matches and nothing paused
  bool is_copy = false;   // of another database: its transaction numbers mean nothing here
  std::string paused_reason;
};

/// The topic of that name. Throws SG010 (unknown topic, with the call that creates it).
const Topic &topic(std::string_view name);
/// nullptr: no such topic.
const Topic *topic_by_id(int id);
const Topic *find_topic(std::string_view name);

/// Throws 42501 unless the current user owns the topic, is a superuser, or was granted the right.
void require_right(const Topic &topic, Right right);
[[nodiscard]] bool has_right(const Topic &topic, Right right, Oid role);

/// Topics on which the role has any right: what the views show it.
[[nodiscard]] std::vector<int> readable_topics(Oid role);

/// The installation row; era 1 and not runnable before the first topic.
const Installation &installation();

/// Oid of a leaf of a bulk table ("event_v1", 7): saga.event_v1_s7.
[[nodiscard]] std::string leaf_name(std::string_view parent, int segment);

}  // namespace saga::store
