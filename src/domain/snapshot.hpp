// A set of transactions that were visible at one moment, as the server writes it: "xmin:xmax:running,...".
// Order by commit rests on it: a window of a lane is what one snapshot sees and the previous one did not.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "domain/base.hpp"

namespace saga::domain {

class Snapshot {
 public:
  /// The text of a pg_snapshot; nullopt if it is none (xmin <= running < xmax, ascending, no duplicates).
  [[nodiscard]] static std::optional<Snapshot> parse(std::string_view text);

  /// Sees nothing: what a consumer that starts with the earliest event has read.
  [[nodiscard]] static Snapshot none();

  [[nodiscard]] Xid xmin() const noexcept { return xmin_; }
  [[nodiscard]] Xid xmax() const noexcept { return xmax_; }
  [[nodiscard]] const std::vector<Xid> &running() const noexcept { return running_; }

  /// Whether the transaction had ended when the snapshot was taken (aborted ones left no rows).
  [[nodiscard]] bool sees(Xid xid) const noexcept;

  /// The same snapshot without xid. A snapshot leaves out its taker's own xid from the running list, so
  /// that `sees(own)` would be true: a cursor set inside a publishing transaction must add it.
  [[nodiscard]] Snapshot without(Xid xid) const;

  [[nodiscard]] std::string text() const;

  friend bool operator==(const Snapshot &, const Snapshot &) = default;

 private:
  Xid xmin_ = 1;
  Xid xmax_ = 1;
  std::vector<Xid> running_;
};

}  // namespace saga::domain
