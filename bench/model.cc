#include "bench/model.h"

#include "core/error.h"
#include "core/rng.h"
#include "models/load.h"
#include "models/registry.h"
#include "ops/loss.h"

namespace locant::bench {

namespace {

LoadedModel open_model(const ModelOptions& options) {
  const WeightMode mode = options.train ? WeightMode::train : WeightMode::inference;
  if (!options.weights.empty()) {
    LoadOptions load = options.load;
    load.model = options.name;
    load.mode = mode;
    return load_model(options.weights, load);
  }
  require(!options.name.empty(), "bench", "give a model's name or --weights FILE");
  RandomSource source(1);
  LoadedModel loaded;
  const ModelEntry& entry = find_model(options.name);
  loaded.model = make_model(entry.family, entry.config, Weights(source, mode));
  loaded.name = entry.name;
  loaded.preprocess = entry.preprocess;
  return loaded;
}

Tensor random_images(const Preprocess& preprocess, const ModelOptions& options) {
  const std::int64_t rows = options.img_size > 0 ? options.img_size : preprocess.rows;
  const std::int64_t columns = options.img_size > 0 ? options.img_size : preprocess.columns;
  Tensor images({options.batch, preprocess.channels, rows, columns});
  Rng rng(2);
  for (float& value : images.values()) value = rng.normal();
  return images;
}

void train_pass(const Model& model, const Var& images) {
  Tape tape;
  Rng rng(3);
  Context ctx;
  ctx.tape = &tape;
  ctx.train = true;
  ctx.rng = &rng;
  const std::vector<std::int64_t> labels(static_cast<std::size_t>(images.dim(0)), 0);
  tape.backward(cross_entropy(ctx, model.forward(ctx, images), labels, 0.1f));
  for (const Parameter& parameter : model.parameters()) {
    Var value = parameter.value;
    value.clear_grad();
  }
}

}  // namespace

ModelResult bench_model(const ModelOptions& options, double (*peak_mb)()) {
  LoadedModel loaded = open_model(options);
  const Model& model = *loaded.model;
  require(!options.train || model.num_classes() > 0, "bench", "{} has no head to train", loaded.name);
  require(model.inputs().front().name == "images", "bench",
          "{} takes {}, and pictures are what is timed here", loaded.name, model.inputs().front().name);
  const Var images(random_images(loaded.preprocess, options));
  const auto pass = [&] {
    if (options.train)
      train_pass(model, images);
    else
      model.forward(Context{}, images);
  };
  profile_start();
  pass();  // packs weights, fills the pool
  std::int64_t multiply_adds = 0;
  for (const ProfileEntry& layer : profile_stop()) multiply_adds += layer.multiply_adds;
  Best best;
  interleave({[&] { best.add(seconds_of(pass)); }}, options.seconds);

  ModelResult result;
  result.row = {
      .name = loaded.name, .pass = options.train ? "forward+backward" : "forward", .batch = options.batch};
  result.row.ms = best.seconds * 1e3;
  result.row.images_per_s = static_cast<double>(options.batch) / best.seconds;
  result.row.gmac = 1e-9 * static_cast<double>(multiply_adds) / static_cast<double>(options.batch);
  result.row.parameters = model.num_parameters();
  if (options.profile) {
    int passes = 0;
    double seconds = 0.0;
    profile_start();
    interleave({[&] {
                 seconds += seconds_of(pass);
                 ++passes;
               }},
               options.seconds);
    result.layers = profile_stop();
    for (ProfileEntry& layer : result.layers) {
      layer.seconds /= passes;
      layer.calls /= passes;
    }
    result.profiled_ms = seconds / passes * 1e3;
  }
  result.row.peak_mb = peak_mb();
  result.loaded = std::move(loaded);
  return result;
}

}  // namespace locant::bench
