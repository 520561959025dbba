// Reading, asking and writing snapshots. The form that is accepted is exactly the form that the server
// writes, so text() of a parsed snapshot is the text that was parsed.
#include "domain/snapshot.hpp"

#include <algorithm>
#include <charconv>
#include <system_error>
#include <utility>

namespace saga::domain {

namespace {

constexpr Xid kNoXid = 0;

bool take(std::string_view &text, char expected) noexcept {
  if (text.empty() || text.front() != expected) return false;
  text.remove_prefix(1);
  return true;
}

// Leading zeros are refused, and with them the invalid xid 0.
std::optional<Xid> take_xid(std::string_view &text) noexcept {
  if (text.empty() || text.front() == '0') return std::nullopt;
  Xid xid = kNoXid;
  const std::from_chars_result result = std::from_chars(text.data(), text.data() + text.size(), xid);
  if (result.ec != std::errc()) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(result.ptr - text.data()));
  return xid;
}

// The whole of text as ascending xids between least and xmax; nullopt for anything else.
std::optional<std::vector<Xid>> running_in(std::string_view text, Xid least, Xid xmax) {
  std::vector<Xid> running;
  while (!text.empty()) {
    if (!running.empty() && !take(text, ',')) return std::nullopt;
    const std::optional<Xid> xid = take_xid(text);
    if (!xid || *xid < least || *xid >= xmax) return std::nullopt;
    running.push_back(*xid);
    least = *xid + 1;  // below xmax, so this cannot wrap
  }
  return running;
}

}  // namespace

std::optional<Snapshot> Snapshot::parse(std::string_view text) {
  const std::optional<Xid> xmin = take_xid(text);
  if (!xmin || !take(text, ':')) return std::nullopt;
  const std::optional<Xid> xmax = take_xid(text);
  if (!xmax || *xmin > *xmax || !take(text, ':')) return std::nullopt;
  std::optional<std::vector<Xid>> running = running_in(text, *xmin, *xmax);
  if (!running) return std::nullopt;

  Snapshot snapshot;
  snapshot.xmin_ = *xmin;
  snapshot.xmax_ = *xmax;
  snapshot.running_ = std::move(*running);
  return snapshot;
}

Snapshot Snapshot::none() { return Snapshot(); }

bool Snapshot::sees(Xid xid) const noexcept {
  if (xid == kNoXid || xid >= xmax_) return false;
  if (xid < xmin_) return true;
  return !std::binary_search(running_.begin(), running_.end(), xid);
}

Snapshot Snapshot::without(Xid xid) const {
  Snapshot snapshot = *this;
  if (!sees(xid)) return snapshot;
  // An xid below xmin moves xmin down to it; those between the two stay visible, being no running ones.
  snapshot.xmin_ = std::min(xmin_, xid);
  std::vector<Xid> &running = snapshot.running_;
  running.insert(std::lower_bound(running.begin(), running.end(), xid), xid);
  return snapshot;
}

std::string Snapshot::text() const {
  std::string text = std::to_string(xmin_) + ':' + std::to_string(xmax_) + ':';
  for (const Xid xid : running_) {
    if (text.back() != ':') text += ',';
    text += std::to_string(xid);
  }
  return text;
}

}  // namespace saga::domain
