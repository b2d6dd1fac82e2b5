#include "ops/linear_attention.h"

#include "core/parallel.h"
#include "core/profile.h"
#include "ops/linear_attention_head.h"

namespace locant {
namespace {

// What the ops below keep for the backward.
struct LinearAttentionCall {
  Var queries, keys, numerator_queries, numerator_keys, v;  // the numerator's undefined: as the denominator's
  LinearAttentionOptions options;

  std::int64_t B() const { return v.dim(0); }
  std::int64_t H() const { return options.heads; }

  LinearHead head(std::int64_t b, std::int64_t h, Tensor& den) const {
    LinearHead out;
    out.Nq = queries.dim(1);
    out.Nk = options.key_lengths.empty() ? keys.dim(1) : options.key_lengths[static_cast<std::size_t>(b)];
    out.Dv = v.dim(2) / H();
    out.row_v = v.dim(2);
    out.causal = options.causal;
    out.decay = options.decay.empty() ? 0.0f : options.decay[static_cast<std::size_t>(h)];
    out.eps = options.eps;
    out.v = v.value().data() + b * keys.dim(1) * out.row_v + h * out.Dv;
    out.den = den.data() + (b * H() + h) * out.Nq;
    if (numerator_queries.defined()) {
      out.streams.push_back(stream(numerator_queries, numerator_keys, b, h, 0, out.Dv));
      out.streams.push_back(stream(queries, keys, b, h, out.Dv, 1));
    } else {
      out.streams.push_back(stream(queries, keys, b, h, 0, out.Dv + 1));
    }
    return out;
  }

  LinearStream stream(const Var& f, const Var& g, std::int64_t b, std::int64_t h, std::int64_t first,
                      std::int64_t width) const {
    LinearStream out;
    out.M = f.dim(2) / H();
    out.q = {f.value().data() + b * f.dim(1) * f.dim(2) + h * out.M, f.dim(2)};
    out.k = {g.value().data() + b * g.dim(1) * g.dim(2) + h * out.M, g.dim(2)};
    out.first = first;
    out.width = width;
    return out;
  }

  // body(b, h) for every head of every sample.
  template <class Body>
  void each_head(const Body& body) const {
    parallel_for(B() * H(), 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t x = begin; x < end; ++x) body(x / H(), x % H());
    });
  }
};

void backward(const LinearAttentionCall& call, Tensor& den, const Tensor& out, const Tensor& dout) {
  const ProfileScope scope("linear_attention_backward");
  // In the order of a head's streams: queries, keys, queries, keys. Rows that nobody sees stay zero.
  std::vector<const Var*> features;
  if (call.numerator_queries.defined()) features = {&call.numerator_queries, &call.numerator_keys};
  features.insert(features.end(), {&call.queries, &call.keys});
  std::vector<Tensor> gradients;
  for (const Var* f : features) gradients.push_back(Tensor::zeros(f->shape()));
  Tensor dv = Tensor::zeros(call.v.shape());
  call.each_head([&](std::int64_t b, std::int64_t h) {
    LinearHead head = call.head(b, h, den);
    const auto place = [&](Tensor& t, std::int64_t width) {
      return t.data() + b * t.dim(1) * t.dim(2) + h * width;
    };
    for (std::size_t s = 0; s < head.streams.size(); ++s) {
      head.streams[s].dq = place(gradients[2 * s], head.streams[s].M);
      head.streams[s].dk = place(gradients[2 * s + 1], head.streams[s].M);
    }
    const std::int64_t at = b * out.dim(1) * out.dim(2) + h * head.Dv;
    linear_head_backward(head, out.data() + at, dout.data() + at, place(dv, head.Dv));
  });
  for (std::size_t x = 0; x < features.size(); ++x) features[x]->accumulate(std::move(gradients[x]));
  call.v.accumulate(std::move(dv));
}

Var run(const Context& ctx, const LinearAttentionCall& call) {
  check_linear_attention(call.queries, call.keys, call.numerator_queries, call.numerator_keys, call.v,
                         call.options);
  ProfileScope scope("linear_attention");
  scope.works((call.queries.shape().numel() + call.keys.shape().numel()) * (call.v.dim(2) / call.H()));
  Tensor out({call.B(), call.queries.dim(1), call.v.dim(2)});
  Tensor den({call.B(), call.H(), call.queries.dim(1)});
  call.each_head([&](std::int64_t b, std::int64_t h) {
    LinearHead head = call.head(b, h, den);
    linear_head_forward(head, out.data() + b * out.dim(1) * out.dim(2) + h * head.Dv);
  });
  return ctx.record({call.queries, call.keys, call.v, call.numerator_queries, call.numerator_keys}, out,
                    [call, den, out](const Tensor& dout) mutable { backward(call, den, out, dout); });
}

}  // namespace

Var linear_attention(const Context& ctx, const Var& queries, const Var& keys, const Var& v,
                     const LinearAttentionOptions& options) {
  return run(ctx, {queries, keys, {}, {}, v, options});
}

Var linear_attention(const Context& ctx, const Var& queries, const Var& keys, const Var& numerator_queries,
                     const Var& numerator_keys, const Var& v, const LinearAttentionOptions& options) {
  return run(ctx, {queries, keys, numerator_queries, numerator_keys, v, options});
}

}  // namespace locant
