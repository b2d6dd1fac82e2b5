#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "verify/verify.h"

namespace locant {
namespace {

constexpr std::size_t kGradientLines = 3, kFailureLines = 20;

/// How far out an entry is; what was not compared is farthest.
double severity(const VerifyEntry& entry) {
  if (!entry.problem.empty() || std::isnan(entry.error)) return HUGE_VAL;
  if (entry.bound > 0) return entry.error / entry.bound;
  return entry.error > 0 ? HUGE_VAL : 0.0;
}

std::string line_of(const VerifyEntry& entry) {
  const std::string name = fmt::format("{} {}", entry.kind, entry.name);
  if (!entry.problem.empty()) return fmt::format("  {:<58} FAIL: {}\n", name, entry.problem);
  return fmt::format("  {:<58} {:.1e} of {:.1e}  {}\n", name, entry.error, entry.bound,
                     entry.ok() ? "ok" : "FAIL");
}

bool is_gradient(const VerifyEntry& entry) {
  return entry.kind == "gradient" || entry.kind == "zero gradient";
}

nlohmann::ordered_json number_or_null(double x) {
  return std::isfinite(x) ? nlohmann::ordered_json(x) : nlohmann::ordered_json();
}

}  // namespace

bool VerifyReport::ok() const { return problems.empty() && !entries.empty() && first_failure() == nullptr; }

const VerifyEntry* VerifyReport::worst(std::string_view kind) const {
  const VerifyEntry* out = nullptr;
  for (const VerifyEntry& entry : entries)
    if ((kind.empty() || entry.kind == kind) && (out == nullptr || severity(entry) > severity(*out)))
      out = &entry;
  return out;
}

const VerifyEntry* VerifyReport::first_failure() const {
  const auto it =
      std::find_if(entries.begin(), entries.end(), [](const VerifyEntry& entry) { return !entry.ok(); });
  return it == entries.end() ? nullptr : &*it;
}

std::string VerifyReport::text(bool all) const {
  std::string out = fmt::format("{}: {}\n  {}, names of {}; build {:.0f} ms, forward {:.0f}", file,
                                ok() ? "ok" : "FAIL", family, naming, build_ms, forward_ms);
  if (backward_ms > 0) out += fmt::format(", backward {:.0f}", backward_ms);
  if (inference_ms > 0) out += fmt::format(", inference {:.0f}", inference_ms);
  out += '\n';
  if (!note.empty()) out += fmt::format("  {}\n", note);
  for (std::size_t i = 0; i < problems.size() && (all || i < kFailureLines); ++i)
    out += fmt::format("  {}\n", problems[i]);
  if (!all && problems.size() > kFailureLines) out += fmt::format("  ... {} in all\n", problems.size());

  std::vector<const VerifyEntry*> gradients;
  for (const VerifyEntry& entry : entries) {
    if (all || !is_gradient(entry)) out += line_of(entry);
    if (is_gradient(entry)) gradients.push_back(&entry);
  }
  if (all || gradients.empty()) return out;
  std::stable_sort(gradients.begin(), gradients.end(),
                   [](const VerifyEntry* a, const VerifyEntry* b) { return severity(*a) > severity(*b); });
  out += fmt::format("  {} gradients, the worst:\n", gradients.size());
  for (std::size_t i = 0; i < gradients.size(); ++i) {
    const bool failed = !gradients[i]->ok();
    if (i >= (failed ? kFailureLines : kGradientLines)) break;
    out += line_of(*gradients[i]);
  }
  return out;
}

std::string VerifyReport::json() const {
  nlohmann::ordered_json out;
  out["file"] = file;
  out["family"] = family;
  out["naming"] = naming;
  out["ok"] = ok();
  if (!note.empty()) out["note"] = note;
  out["problems"] = problems;
  nlohmann::ordered_json by_kind = nlohmann::ordered_json::object();
  for (const char* kind : {"input", "output", "stage", "gradient", "zero gradient", "inference"})
    if (const VerifyEntry* entry = worst(kind))
      by_kind[kind] = {
          {"name", entry->name}, {"error", number_or_null(entry->error)}, {"bound", entry->bound}};
  out["worst"] = by_kind;
  out["entries"] = nlohmann::ordered_json::array();
  for (const VerifyEntry& entry : entries) {
    nlohmann::ordered_json item = {{"kind", entry.kind},
                                   {"name", entry.name},
                                   {"error", number_or_null(entry.error)},
                                   {"bound", entry.bound},
                                   {"ok", entry.ok()}};
    if (!entry.problem.empty()) item["problem"] = entry.problem;
    if (!entry.bits.empty()) item["bits"] = entry.bits;
    out["entries"].push_back(item);
  }
  out["ms"] = {
      {"build", build_ms}, {"forward", forward_ms}, {"backward", backward_ms}, {"inference", inference_ms}};
  return out.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace locant
