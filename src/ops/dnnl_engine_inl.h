#pragma once

#ifdef LOCANT_ONEDNN

#include <array>
#include <dnnl.hpp>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "core/tensor.h"

/// All that src/ops shares of oneDNN 2.x. No header that others include may include this one.
namespace locant::dnnl_ops {

/// Limits oneDNN to active_isa() (first call of the process only: later it refuses) and gives OpenMP in the
/// calling thread `threads` threads; 0: num_threads(). Comes before any call of oneDNN.
void prepare(int threads = 0);
/// The CPU; prepared.
dnnl::engine& engine();

/// A primitive and what its buffers look like.
struct Plan {
  dnnl::primitive primitive;
  dnnl::memory::desc scratchpad;
  std::string implementation;
  struct Argument {
    int index;  ///< DNNL_ARG_...
    dnnl::memory::desc layout;
  };
  std::vector<Argument> arguments;

  /// Runs on the buffers, in the order of `arguments`. Any thread may, and several at once.
  void run(std::span<const float* const> buffers) const;
};

/// Everything that a plan depends on but the number of threads; the first entry names the kind of op.
using PlanKey = std::array<std::int64_t, 20>;
/// The plan of a key, made by `make` when it is new (creation costs up to milliseconds). Errors of oneDNN
/// become Error(op, ...).
std::shared_ptr<const Plan> plan(const char* op, const PlanKey& key, const std::function<Plan()>& make);

/// Attributes of every plan: the caller owns the scratch memory, so that plans may run in any thread.
dnnl::primitive_attr attributes(const dnnl::post_ops& post_ops = {});

/// Row-major float32 of the given extents.
dnnl::memory::desc rows_layout(const dnnl::memory::dims& extents);

/// Writes `from` (as `from_layout` says) into `to` (as `to_layout` says).
void reorder(const float* from, const dnnl::memory::desc& from_layout, float* to,
             const dnnl::memory::desc& to_layout);

}  // namespace locant::dnnl_ops

#endif
