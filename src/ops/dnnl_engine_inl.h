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

/// Stands around every call of oneDNN, whose threads are those that OpenMP would give the calling thread:
/// they are `threads` (0: num_threads()) while it lives, and what the caller had set behind it. The first of
/// a process limits oneDNN to active_isa(); later it refuses.
class OmpThreads {
 public:
  explicit OmpThreads(int threads = 0);
  ~OmpThreads();
  OmpThreads(const OmpThreads&) = delete;
  OmpThreads& operator=(const OmpThreads&) = delete;

 private:
  int before_ = 0;  ///< 0: nothing to put back
};

/// The CPU.
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
/// The plan of a key, made by `make`, inside OmpThreads, when it is new (creation costs up to milliseconds).
/// Errors of oneDNN become Error(op, ...).
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
