#include "simd/isa.h"

#include <hwy/targets.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>

#include "core/error.h"

namespace locant {
namespace {

constexpr std::array<std::string_view, 4> kNames = {"reference", "sse4", "avx2", "avx512"};

// What active_isa() holds before anything was chosen.
constexpr int kUnset = -1;
std::atomic<int> g_active{kUnset};
std::atomic<bool> g_forced{false};

std::string names_of(const std::vector<Isa>& isas) {
  std::string list;
  for (const Isa isa : isas) {
    if (!list.empty()) list += ", ";
    list += isa_name(isa);
  }
  return list;
}

void require_supported(Isa isa) {
  const std::vector<Isa>& supported = supported_isas();
  if (std::find(supported.begin(), supported.end(), isa) == supported.end())
    fail("isa", "this machine cannot run {}; it supports {}", isa_name(isa), names_of(supported));
}

// An empty variable counts as unset: `LOCANT_ISA= locant ...` is how a shell clears one for a command.
const char* environment_name() {
  const char* name = std::getenv("LOCANT_ISA");
  return name != nullptr && *name != '\0' ? name : nullptr;
}

}  // namespace

std::string_view isa_name(Isa isa) { return kNames[static_cast<std::size_t>(isa)]; }

const std::vector<Isa>& supported_isas() {
  static const std::vector<Isa> isas = [] {
    // Highway's sets are what the kernels are compiled for: each bit stands for every instruction of its
    // target, and for the operating system saving the registers.
    const std::int64_t targets = hwy::SupportedTargets();
    std::vector<Isa> found = {Isa::reference};
    if (targets & HWY_SSE4) found.push_back(Isa::sse4);
    if (targets & HWY_AVX2) found.push_back(Isa::avx2);
    if (targets & HWY_AVX3) found.push_back(Isa::avx512);
    return found;
  }();
  return isas;
}

Isa parse_isa(std::string_view name) {
  for (std::size_t i = 0; i < kNames.size(); ++i)
    if (kNames[i] == name) return static_cast<Isa>(i);
  fail("isa", "no instruction set is called '{}'; this machine supports {}", name,
       names_of(supported_isas()));
}

Isa active_isa() {
  if (const int active = g_active.load(std::memory_order_relaxed); active != kUnset)
    return static_cast<Isa>(active);
  Isa chosen = supported_isas().back();
  if (const char* name = environment_name()) {
    chosen = parse_isa(name);
    require_supported(chosen);
  }
  // Somebody may have forced one meanwhile: theirs stays.
  int expected = kUnset;
  g_active.compare_exchange_strong(expected, static_cast<int>(chosen));
  return expected == kUnset ? chosen : static_cast<Isa>(expected);
}

void set_active_isa(Isa isa) {
  require_supported(isa);
  g_active.store(static_cast<int>(isa));
  g_forced.store(true);
}

std::string isa_reason() {
  const Isa isa = active_isa();
  const char* reason = "best of this machine";
  if (g_forced.load()) {
    reason = "set by the program";
  } else if (environment_name() != nullptr) {
    reason = "LOCANT_ISA";
  }
  return fmt::format("{} ({})", isa_name(isa), reason);
}

}  // namespace locant
