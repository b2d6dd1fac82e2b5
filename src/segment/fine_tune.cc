#include "segment/fine_tune.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/error.h"
#include "core/finite.h"
#include "io/image.h"
#include "io/model_folder.h"
#include "io/safetensors.h"
#include "models/checkpoint.h"
#include "models/registry.h"
#include "ops/arithmetic.h"
#include "ops/elementwise.h"
#include "ops/layout.h"
#include "ops/mask_loss.h"
#include "ops/product.h"
#include "segment/embedding_cache.h"
#include "segment/model_identity.h"
#include "segment/segment_data.h"
#include "train/adamw.h"
#include "train/random_streams.h"
#include "train/run_log.h"
#include "train/schedule.h"

namespace locant {
namespace {

namespace fs = std::filesystem;
constexpr const char* kFineTuneOp = "fine_tune";
constexpr float kFocalWeight = 20.0f;
constexpr std::int64_t kMostPoints = 3;

void check(const FineTuneOptions& o) {
  require(!o.data.empty() && !o.init.empty() && !o.out.empty(), kFineTuneOp,
          "a folder of pictures and masks, a checkpoint to start from and a folder to write to are needed");
  require(o.epochs >= 1 && o.epochs <= 1000000 && o.batch >= 1 && o.batch <= 1024, kFineTuneOp,
          "{} epochs and {} objects a step; at least 1, at most 1,000,000 and 1,024", o.epochs, o.batch);
  require(
      o.lr > 0 && o.min_lr >= 0 && o.min_lr <= o.lr && o.weight_decay >= 0 && o.clip >= 0 &&
          o.warmup_epochs >= 0 && o.val_split >= 0 && o.val_split < 1,
      kFineTuneOp,
      "lr {} and min_lr {}, weight_decay {}, clip {}, warmup_epochs {} and val_split {} do not make sense",
      o.lr, o.min_lr, o.weight_decay, o.clip, o.warmup_epochs, o.val_split);
}

/// Per mask: 20 focal + dice + (iou - predicted iou)^2, of the mask with the least focal and dice; mean over
/// the objects.
Var loss_of(const Context& ctx, const SamMasks& out, const Tensor& target) {
  const std::int64_t B = out.masks.dim(0), M = out.masks.dim(1), P = out.masks.dim(2) * out.masks.dim(3);
  const Var logits = reshape(ctx, out.masks, {B, M, P});
  Tensor wanted({B, M, P});
  for (std::int64_t n = 0; n < B * M; ++n) std::copy_n(target.data() + n / M * P, P, wanted.data() + n * P);
  const Var shape = add(ctx, affine(ctx, focal_loss(ctx, logits, wanted), kFocalWeight),
                        dice_loss(ctx, logits, wanted));  // (B, M)
  Tensor iou({B, M}), weight = Tensor::zeros({B * M, 1});
  for (std::int64_t b = 0; b < B; ++b) {
    std::int64_t best = 0;
    for (std::int64_t m = 0; m < M; ++m) {
      std::int64_t both = 0, either = 0;
      const float *x = logits.value().data() + (b * M + m) * P, *t = target.data() + b * P;
      for (std::int64_t i = 0; i < P; ++i) {
        both += x[i] > 0.0f && t[i] > 0.5f;
        either += x[i] > 0.0f || t[i] > 0.5f;
      }
      iou[b * M + m] = -static_cast<float>(both) / static_cast<float>(std::max<std::int64_t>(either, 1));
      if (shape.value()[b * M + m] < shape.value()[b * M + best]) best = m;
    }
    weight[b * M + best] = 1.0f / static_cast<float>(B);
  }
  const Var miss = add(ctx, out.iou, Var(iou));
  const Var loss = add(ctx, shape, multiply(ctx, miss, miss));
  return product(ctx, reshape(ctx, loss, {1, B * M}), Var(std::move(weight)));
}

double iou_at(const float* logits, const float* target, std::int64_t count) {
  std::int64_t both = 0, either = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    both += logits[i] > 0.0f && target[i] > 0.5f;
    either += logits[i] > 0.0f || target[i] > 0.5f;
  }
  return either == 0 ? 0.0 : static_cast<double>(both) / static_cast<double>(either);
}

class FineTune {
 public:
  FineTune(const FineTuneOptions& options, const FineTuneCallbacks& callbacks);
  FineTuneResult run();

 private:
  using Objects = std::vector<const SegmentObject*>;
  void split();
  bool encode();
  LoadedSam load(WeightMode mode, std::int64_t image_size, Sam::Parts parts) const;
  void epoch(std::int64_t index);
  double step(const Objects& objects, std::int64_t index);
  SamMasks answer(const Context& ctx, const Objects& objects, bool boxes, Rng* rng) const;
  double mean_iou(bool boxes) const;
  void validate(std::int64_t epoch);
  [[noreturn]] void diverged(const std::string& what) const;
  void keep();
  void save() const;
  void start_log() const;
  void say(const std::string& text) const {
    if (callbacks_.line) callbacks_.line(text);
  }
  bool stopped() const { return callbacks_.stop && callbacks_.stop(); }
  std::string log_file() const { return (fs::path(options_.out) / "train.log.jsonl").string(); }
  std::int64_t low() const { return decoder_->image_size() / 4; }

  FineTuneOptions options_;
  const FineTuneCallbacks& callbacks_;
  std::shared_ptr<const Sam> decoder_;
  std::string name_, naming_, key_;  // of the variant, of its tensors in the file
  SegmentData data_;
  std::unique_ptr<EmbeddingCache> cache_;
  Objects train_, held_out_;
  std::vector<Parameter> trained_;
  std::unique_ptr<AdamW> optimizer_;
  std::vector<std::pair<std::string, Tensor>> best_;
  double best_iou_ = -1.0, epoch_loss_ = 0.0;
  FineTuneResult result_;
};

FineTune::FineTune(const FineTuneOptions& options, const FineTuneCallbacks& callbacks)
    : options_(options), callbacks_(callbacks) {
  check(options_);
  if (options_.embeddings.empty()) options_.embeddings = (fs::path(options_.out) / "embeddings").string();
  const fs::path saved = fs::path(options_.out) / "sam.safetensors";
  require(options_.force || !fs::exists(saved), kFineTuneOp,
          "{} is there already; give another folder, or replace it", saved.string());
  const LoadedSam loaded = load(WeightMode::train, options_.image_size, Sam::Parts::decoder);
  decoder_ = loaded.sam;
  name_ = loaded.name;
  naming_ = loaded.naming;
  key_ = loaded.key;
  for (const std::string& note : loaded.notes) say(note);
  data_ = read_segment_data(options_.data, decoder_->image_size(), low(), options_.strict);
  for (const std::string& note : data_.notes) say(note);
  result_.skipped = static_cast<std::int64_t>(data_.skipped.size());
  for (const SkippedPicture& picture : data_.skipped)
    if (callbacks_.skipped) callbacks_.skipped(picture);
  cache_ = std::make_unique<EmbeddingCache>(options_.embeddings,
                                            EmbeddingOrigin{.model = model_identity(options_.init),
                                                            .model_name = name_,
                                                            .image_size = decoder_->image_size(),
                                                            .normalisation = {},
                                                            .exif_orientation = true,
                                                            .features = decoder_->embedding_shape()});
  for (const Parameter& parameter : decoder_->parameters())
    if (parameter.name.rfind("mask_decoder.", 0) == 0) trained_.push_back(parameter);
  AdamWOptions adamw;
  adamw.weight_decay = options_.weight_decay;
  optimizer_ = std::make_unique<AdamW>(trained_, adamw);
  split();
}

LoadedSam FineTune::load(WeightMode mode, std::int64_t image_size, Sam::Parts parts) const {
  LoadSamOptions load{.model = options_.model,
                      .mode = mode,
                      .image_size = image_size,
                      .parts = parts,
                      .ignore = options_.ignore};
  if (!options_.key.empty()) load.key = options_.key;
  return load_sam(options_.init, load);
}

/// Whole pictures are held out.
void FineTune::split() {
  const auto count = static_cast<std::int64_t>(data_.pictures.size());
  const auto out =
      static_cast<std::int64_t>(std::floor(options_.val_split * static_cast<double>(count) + 0.5));
  std::vector<bool> held(static_cast<std::size_t>(count), false);
  const std::vector<std::int64_t> order = shuffled_order(options_.seed, -1, count);
  for (std::int64_t n = 0; n < std::min(out, count - 1); ++n)
    held[static_cast<std::size_t>(order[static_cast<std::size_t>(n)])] = true;
  for (const SegmentObject& object : data_.objects)
    (held[object.picture] ? held_out_ : train_).push_back(&object);
  require(!train_.empty(), kFineTuneOp, "no object is left to train on; hold fewer pictures out");
  say(fmt::format("{} pictures, {} objects to train on, {} held out", count, train_.size(),
                  held_out_.size()));
}

/// Embeddings that the cache lacks; the encoder is loaded for them alone. False: stopped.
bool FineTune::encode() {
  std::vector<const SegmentPicture*> missing;
  for (const SegmentPicture& picture : data_.pictures)
    if (cache_->check(picture.key).state != EmbeddingCache::State::fresh) missing.push_back(&picture);
  if (missing.empty()) return true;
  say(fmt::format("encoding {} of {} pictures", missing.size(), data_.pictures.size()));
  const LoadedSam whole = load(WeightMode::inference, decoder_->image_size(), Sam::Parts::all);
  const ResizeLongestSide transform(whole.sam->image_size());
  for (std::size_t n = 0; n < missing.size(); ++n) {
    if (stopped()) return false;
    if (callbacks_.progress)
      callbacks_.progress({FineTuneProgress::Phase::encode, static_cast<std::int64_t>(n),
                           static_cast<std::int64_t>(missing.size()), 0.0});
    const SegmentPicture& picture = *missing[n];
    const Tensor input = sam_input(transform.apply_image(read_image(picture.path)), whole.sam->image_size());
    cache_->store(picture.key, {whole.sam->image_embedding({}, Var(input)).value(), picture.frame.original,
                                picture.frame.input});
  }
  return true;
}

/// Prompts and the decoder's answers: one point in the middle or the exact box without `rng`.
SamMasks FineTune::answer(const Context& ctx, const Objects& objects, bool boxes, Rng* rng) const {
  const auto B = static_cast<std::int64_t>(objects.size());
  const std::int64_t S = decoder_->image_size();
  const Shape one = decoder_->embedding_shape();
  const std::int64_t points = rng == nullptr ? 1 : 1 + static_cast<std::int64_t>(rng->below(kMostPoints));
  SamPrompts prompts;
  if (boxes) {
    prompts.boxes = Tensor({B, 4});
  } else {
    prompts.points = Tensor({B, points, 2});
    prompts.labels = Tensor::full({B, points}, 1.0f);
  }
  Tensor embeddings({B, one[1], one[2], one[3]});
  for (std::int64_t b = 0; b < B; ++b) {
    const SegmentObject& object = *objects[static_cast<std::size_t>(b)];
    const EmbeddingCache::Lookup found = cache_->find(data_.pictures[object.picture].key);
    require(found.state == EmbeddingCache::State::fresh, kFineTuneOp, "{}: its embedding has gone: {}",
            data_.pictures[object.picture].path, found.reason);
    std::copy_n(found.embedding.features.data(), one.numel(), embeddings.data() + b * one.numel());
    const Mask mask = rle_to_mask(object.mask);
    if (boxes)
      add_box_prompt(mask, S, rng, prompts.boxes.data() + 4 * b);
    else if (rng == nullptr)
      add_centre_prompt(mask, S, prompts.points.data() + 2 * b);
    else
      add_point_prompt(mask, S, points, *rng, prompts.points.data() + 2 * points * b);
  }
  return decoder_->decode(ctx, Var(std::move(embeddings)), decoder_->encode_prompts(ctx, prompts), !boxes);
}

double FineTune::step(const Objects& objects, std::int64_t index) {
  Rng rng = random_stream(options_.seed, RandomPurpose::augment, static_cast<std::uint64_t>(index));
  const bool boxes = rng.below(2) == 1;
  Tape tape;
  Context ctx;
  ctx.tape = &tape;
  const Var loss = loss_of(ctx, answer(ctx, objects, boxes, &rng), target_masks(objects, low()));
  const double value = loss.value()[0];
  if (!std::isfinite(value))
    diverged(
        fmt::format("the loss of step {} is {}", index + 1, std::isnan(value) ? "not a number" : "infinite"));
  tape.backward({{loss, Tensor::full({1, 1}, 1.0f)}});
  const std::int64_t steps = (static_cast<std::int64_t>(train_.size()) + options_.batch - 1) / options_.batch;
  const std::int64_t total = steps * options_.epochs;
  const CosineSchedule schedule{
      .lr = options_.lr,
      .min_lr = options_.min_lr,
      .warmup_steps =
          std::min(static_cast<std::int64_t>(options_.warmup_epochs * static_cast<double>(steps)), total - 1),
      .total_steps = total};
  optimizer_->step(schedule.at(index), clip_factor(gradient_norm(trained_), options_.clip));
  for (const Parameter& parameter : decoder_->parameters()) {
    Var value_of = parameter.value;
    value_of.clear_grad();
  }
  return value;
}

void FineTune::epoch(std::int64_t index) {
  const auto count = static_cast<std::int64_t>(train_.size());
  const std::vector<std::int64_t> order = shuffled_order(options_.seed, index, count);
  const std::int64_t steps = (count + options_.batch - 1) / options_.batch;
  double sum = 0.0;
  for (std::int64_t s = 0; s < steps && !stopped(); ++s) {
    Objects objects;
    for (std::int64_t n = s * options_.batch; n < std::min(count, (s + 1) * options_.batch); ++n)
      objects.push_back(train_[static_cast<std::size_t>(order[static_cast<std::size_t>(n)])]);
    const double loss = step(objects, index * steps + s);
    sum += loss;
    ++result_.steps;
    if (callbacks_.progress)
      callbacks_.progress(
          {FineTuneProgress::Phase::train, index * steps + s + 1, steps * options_.epochs, loss});
  }
  epoch_loss_ = sum / static_cast<double>(steps);
}

/// Of the held-out objects, from the middle point (the mask with the highest predicted IoU) or the box.
double FineTune::mean_iou(bool boxes) const {
  if (held_out_.empty()) return -1.0;
  const std::int64_t P = low() * low();
  double sum = 0.0;
  for (const SegmentObject* object : held_out_) {
    const SamMasks out = answer({}, {object}, boxes, nullptr);
    const Tensor target = target_masks({object}, low());
    std::int64_t best = 0;
    for (std::int64_t m = 1; m < out.iou.dim(1); ++m)
      if (out.iou.value()[m] > out.iou.value()[best]) best = m;
    sum += iou_at(out.masks.value().data() + best * P, target.data(), P);
  }
  return sum / static_cast<double>(held_out_.size());
}

void FineTune::diverged(const std::string& what) const {
  const std::string saved =
      best_.empty() ? "nothing was saved"
                    : fmt::format(
                          "{}/sam.safetensors holds the best epoch before it: --init it, with another "
                          "--out, to go on from there",
                          options_.out);
  fail(kFineTuneOp,
       "{}. Try a lower --lr (it is {}), a longer --warmup-epochs ({}), a smaller --clip ({}), and look at "
       "the "
       "pictures and masks; {}",
       what, options_.lr, options_.warmup_epochs, options_.clip, saved);
}

void FineTune::keep() {
  best_.clear();
  for (const Parameter& parameter : trained_)
    best_.emplace_back(parameter.name, parameter.value.value().clone());
}

void FineTune::validate(std::int64_t epoch) {
  for (const Parameter& parameter : trained_)
    if (const std::string wrong = not_finite(parameter.value.value()); !wrong.empty())
      diverged(fmt::format("{} is {} after epoch {}", parameter.name, wrong, epoch));
  result_.point_iou = mean_iou(false);
  result_.box_iou = mean_iou(true);
  const double both = result_.point_iou + result_.box_iou;
  if (held_out_.empty() || both > best_iou_) {
    best_iou_ = both;
    keep();
  }
  nlohmann::ordered_json line{{"epoch", epoch}, {"loss", epoch_loss_}};
  std::string text = fmt::format("epoch {}: loss {:.4f}", epoch, epoch_loss_);
  if (!held_out_.empty()) {
    line["val_point_iou"] = result_.point_iou;
    line["val_box_iou"] = result_.box_iou;
    text += fmt::format(", held out: IoU {:.4f} from a point, {:.4f} from the box", result_.point_iou,
                        result_.box_iou);
  }
  say(text);
  append_log_line(log_file(), line.dump());
}

/// Empty but for the pictures left out.
void FineTune::start_log() const {
  std::error_code error;
  fs::remove(log_file(), error);
  using OrderedJson = nlohmann::ordered_json;
  for (const SkippedPicture& picture : data_.skipped)
    append_log_line(log_file(),
                    OrderedJson{{"kind", "skip"}, {"picture", picture.path}, {"reason", picture.reason}}.dump(
                        -1, ' ', false, OrderedJson::error_handler_t::replace));
}

/// The whole model under its official names: the trained decoder, the rest from the checkpoint.
void FineTune::save() const {
  const std::unique_ptr<TensorFile> file = open_tensor_file(find_model_folder(options_.init).weights);
  const std::string family = decoder_->family().name;
  const std::vector<Parameter> whole =
      model_parameters(family, merge_config(decoder_->config(), R"({"parts":"all"})"));
  const TensorIndex index(*file);
  CheckpointSource source(StateDict(index, key_), find_renames(family, naming_));
  require(source.fit(whole).missing.empty(), kFineTuneOp, "{} has changed since it was loaded",
          options_.init);
  std::vector<std::pair<std::string, Tensor>> tensors;
  for (const Parameter& parameter : whole) {
    const auto trained = std::find_if(best_.begin(), best_.end(),
                                      [&](const auto& entry) { return entry.first == parameter.name; });
    tensors.emplace_back(parameter.name, trained != best_.end()
                                             ? trained->second
                                             : source.get(parameter.name, parameter.shape, Init::zeros()));
  }
  write_safetensors((fs::path(options_.out) / "sam.safetensors").string(), tensors,
                    {{"model", name_}, {"fine_tuned", "mask_decoder"}});
}

FineTuneResult FineTune::run() {
  std::error_code error;
  fs::create_directories(options_.out, error);
  require(!error, ErrorKind::system, kFineTuneOp, "{}: {}", options_.out, error ? error.message() : "");
  if (!encode()) return result_;
  result_.point_iou_before = mean_iou(false);
  result_.box_iou_before = mean_iou(true);
  if (!held_out_.empty())
    say(fmt::format("before: IoU {:.4f} from a point, {:.4f} from the box", result_.point_iou_before,
                    result_.box_iou_before));
  start_log();
  for (std::int64_t e = 0; e < options_.epochs; ++e) {
    epoch(e);
    if (stopped() && result_.steps == 0) return result_;
    validate(e + 1);
    save();
    if (stopped()) return result_;
  }
  result_.finished = true;
  return result_;
}

}  // namespace

FineTuneResult fine_tune(const FineTuneOptions& options, const FineTuneCallbacks& callbacks) {
  return FineTune(options, callbacks).run();
}

}  // namespace locant
