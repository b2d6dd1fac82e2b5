#include "ops/dnnl_engine_inl.h"

#ifdef LOCANT_ONEDNN

#include <map>
#include <mutex>

#include "core/error.h"
#include "core/fork.h"
#include "core/parallel.h"
#include "core/pool.h"
#include "simd/isa.h"

// The OpenMP runtime that oneDNN loads; Locant itself may be built without OpenMP (clang).
extern "C" {
void omp_set_num_threads(int) __attribute__((weak));
int omp_get_max_threads() __attribute__((weak));
}

namespace locant::dnnl_ops {
namespace {

constexpr std::size_t kMostPlans = 1024;

dnnl::stream& stream() {
  static thread_local dnnl::stream stream(engine());
  return stream;
}

float* writable(const float* data) { return const_cast<float*>(data); }

}  // namespace

OmpThreads::OmpThreads(int threads) {
  static std::once_flag limited;
  std::call_once(limited, [] {
    switch (active_isa()) {
      case Isa::reference:
      case Isa::sse4:
        dnnl::set_max_cpu_isa(dnnl::cpu_isa::sse41);
        break;
      case Isa::avx2:
        dnnl::set_max_cpu_isa(dnnl::cpu_isa::avx2);
        break;
      case Isa::avx512:
        break;
    }
  });
  if (omp_set_num_threads == nullptr || omp_get_max_threads == nullptr) return;
  const int wanted = threads > 0 ? threads : num_threads(), now = omp_get_max_threads();
  if (now == wanted) return;
  omp_set_num_threads(wanted);
  before_ = now;
}

OmpThreads::~OmpThreads() {
  if (before_ > 0) omp_set_num_threads(before_);
}

dnnl::engine& engine() {
  const OmpThreads threads;
  static auto* engine =
      new dnnl::engine(dnnl::engine::kind::cpu, 0);  // outlives every static that holds a primitive
  return *engine;
}

void Plan::run(std::span<const float* const> buffers) const {
  const OmpThreads threads;
  std::array<dnnl::memory, 8> memories;
  std::array<dnnl_exec_arg_t, 8> list;
  std::size_t count = 0;
  const auto add = [&](int index, const dnnl::memory::desc& layout, float* data) {
    memories[count] = dnnl::memory(layout, engine(), data);
    list[count] = {index, memories[count].get()};
    ++count;
  };
  for (std::size_t i = 0; i < arguments.size(); ++i)
    add(arguments[i].index, arguments[i].layout, writable(buffers[i]));
  std::shared_ptr<float> scratch;
  if (const std::size_t bytes = scratchpad.get_size(); bytes > 0) {
    scratch = Pool::global().allocate(static_cast<std::int64_t>((bytes + 3) / 4));
    add(DNNL_ARG_SCRATCHPAD, scratchpad, scratch.get());
  }
  const dnnl_status_t status =
      dnnl_primitive_execute(primitive.get(), stream().get(), static_cast<int>(count), list.data());
  require(status == dnnl_success, "onednn", "{} failed with status {}", implementation,
          static_cast<int>(status));
  stream().wait();
}

std::shared_ptr<const Plan> plan(const char* op, const PlanKey& key, const std::function<Plan()>& make) {
  struct Plans {
    std::mutex mutex;
    std::map<std::pair<int, PlanKey>, std::shared_ptr<const Plan>> made;
    Plans() { hold_over_fork(mutex); }
  };
  static Plans& plans = *new Plans;
  const std::pair<int, PlanKey> full(num_threads(), key);  // plans divide their work at creation
  const OmpThreads threads;
  const std::lock_guard lock(plans.mutex);
  if (const auto found = plans.made.find(full); found != plans.made.end()) return found->second;
  if (plans.made.size() >= kMostPlans) plans.made.clear();  // many picture sizes in one process: start over
  try {
    return plans.made.emplace(full, std::make_shared<const Plan>(make())).first->second;
  } catch (const dnnl::error& error) {
    fail(op, "oneDNN has no implementation for these sizes: {}", error.what());
  }
}

dnnl::primitive_attr attributes(const dnnl::post_ops& post_ops) {
  dnnl::primitive_attr attr;
  attr.set_post_ops(post_ops);
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attr;
}

dnnl::memory::desc rows_layout(const dnnl::memory::dims& extents) {
  dnnl::memory::dims strides(extents.size(), 1);
  for (std::size_t i = extents.size(); i-- > 1;) strides[i - 1] = strides[i] * extents[i];
  return dnnl::memory::desc(extents, dnnl::memory::data_type::f32, strides);
}

void reorder(const float* from, const dnnl::memory::desc& from_layout, float* to,
             const dnnl::memory::desc& to_layout) {
  const OmpThreads threads;
  try {
    dnnl::memory source(from_layout, engine(), writable(from));
    dnnl::memory target(to_layout, engine(), to);
    dnnl::reorder(source, target).execute(stream(), source, target);
    stream().wait();
  } catch (const dnnl::error& error) {
    fail("onednn", "cannot reorder: {}", error.what());
  }
}

}  // namespace locant::dnnl_ops

#endif
