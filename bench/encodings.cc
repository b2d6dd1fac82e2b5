#include "bench/encodings.h"

#include <algorithm>

#include "bench/runner.h"
#include "core/pool.h"
#include "ops/attention/attention.h"

namespace locant::bench {
namespace {

EncodingCase case_of(const EncodingChoice& choice, const EncodingShape& shape) {
  EncodingCase c{.B = shape.B, .H = shape.H, .D = shape.D, .Dv = shape.D, .variant = choice.variant};
  c.query = c.key = natural_grid(*choice.encoding, shape.side);
  return c;
}

/// Inputs of a case, and the passes on them.
class EncodingWork {
 public:
  explicit EncodingWork(const EncodingCase& c)
      : q_(random_tensor({c.B, c.Nq(), c.H * c.D}, 1), true),
        k_(random_tensor({c.B, c.Nk(), c.H * c.D}, 2), true),
        v_(random_tensor({c.B, c.Nk(), c.H * c.Dv}, 3), true),
        dout_(random_tensor({c.B, c.Nq(), c.H * c.Dv}, 4)) {}

  using Run = std::function<Var(const Context& ctx, const Var& q, const Var& k, const Var& v)>;

  void forward(const Run& run) const { run(Context{}, q_, k_, v_); }

  void train(const Run& run, const EncodingInstance* instance) {
    Tape tape;
    Context ctx;
    ctx.tape = &tape;
    const Var out = run(ctx, q_, k_, v_);
    tape.backward({{out, dout_}});
    for (Var* x : {&q_, &k_, &v_}) x->clear_grad();
    if (instance != nullptr)
      for (auto [name, parameter] : instance->parameters) parameter.clear_grad();
  }

  const Tensor& v() const { return v_.value(); }
  const Var& q() const { return q_; }
  const Var& k() const { return k_; }

 private:
  Var q_, k_, v_;
  Tensor dout_;
};

/// Whether the first query takes no notice of the second value, on a small case.
bool is_causal(const EncodingChoice& choice, const EncodingShape& shape) {
  const EncodingCase c = case_of(choice, {.name = "", .B = 1, .H = shape.H, .side = 4, .D = shape.D});
  const EncodingInstance instance = choice.encoding->make(c);
  const EncodingWork work(c);
  const std::int64_t width = c.H * c.Dv;
  Tensor other = work.v().clone();
  for (std::int64_t d = width; d < 2 * width; ++d) other[d] += 1.0f;
  const auto first_row = [&](const Tensor& v) {
    const Tensor out = instance.run(Context{}, work.q(), work.k(), Var(v), AttentionPath::composed).value();
    return std::vector<float>(out.data(), out.data() + width);
  };
  return first_row(work.v()) == first_row(other);
}

/// Bytes in use at once during a call, beyond those before it.
std::int64_t peak_bytes_of(const std::function<void()>& call) {
  Pool::global().trim();
  Pool::global().reset_peak();
  const std::int64_t before = Pool::global().stats().live_bytes;
  call();
  return Pool::global().stats().peak_bytes - before;
}

}  // namespace

const std::vector<EncodingShape>& encoding_shapes() {
  static const std::vector<EncodingShape> shapes = {
      {.name = "vit_b", .B = 1, .H = 12, .side = 32, .D = 64},
      {.name = "swin_stage1", .B = 64, .H = 3, .side = 7, .D = 32},
  };
  return shapes;
}

std::vector<std::string> encoding_variants(const Encoding& encoding) {
  std::vector<std::string> variants = {""};
  for (const EncodingCase& c : encoding.cases())
    if (std::find(variants.begin(), variants.end(), c.variant) == variants.end())
      variants.push_back(c.variant);
  return variants;
}

std::string EncodingChoice::name() const {
  return variant.empty() ? encoding->name : std::string(encoding->name) + ":" + variant;
}

EncodingCost bench_encoding(const EncodingChoice& choice, const EncodingShape& shape, double seconds,
                            bool composed) {
  const EncodingCase c = case_of(choice, shape);
  const EncodingInstance instance = choice.encoding->make(c);
  EncodingCost cost{.name = choice.name(), .shape = shape.name, .causal = is_causal(choice, shape)};
  AttentionOptions plain{.heads = c.H};
  plain.visibility.causal = cost.causal;
  EncodingWork work(c);

  std::vector<std::function<void()>> sides;
  const auto add = [&](PassCost& into, const EncodingWork::Run& run, const EncodingInstance* own) {
    const auto forward = [&work, run] { work.forward(run); };
    const auto both = [&work, run, own] { work.train(run, own); };
    into.forward_bytes = peak_bytes_of(forward);
    into.both_bytes = peak_bytes_of(both);
    const auto timed = [](double& best_ms, const std::function<void()>& call) {
      const double ms = seconds_of(call) * 1e3;
      best_ms = best_ms == 0.0 ? ms : std::min(best_ms, ms);
    };
    sides.push_back([&into, timed, forward] { timed(into.forward_ms, forward); });
    sides.push_back([&into, timed, both] { timed(into.both_ms, both); });
  };
  const auto path = [&instance](AttentionPath which) -> EncodingWork::Run {
    return [&instance, which](const Context& ctx, const Var& q, const Var& k, const Var& v) {
      return instance.run(ctx, q, k, v, which);
    };
  };
  add(
      cost.none,
      [&plain](const Context& ctx, const Var& q, const Var& k, const Var& v) {
        return attention(ctx, q, k, v, plain);
      },
      nullptr);
  add(cost.fused, path(AttentionPath::fused), &instance);
  if (composed) add(cost.composed, path(AttentionPath::composed), &instance);
  interleave(sides, seconds);
  Pool::global().trim();
  return cost;
}

}  // namespace locant::bench
