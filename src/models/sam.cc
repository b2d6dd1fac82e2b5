#include "models/sam.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "models/checkpoint.h"
#include "models/config_json.h"
#include "models/registry.h"
#include "ops/rearrange.h"

namespace locant {
namespace {

constexpr const char* kOp = "sam";
constexpr std::int64_t kPatch = 16, kLargest = 4096;

SamVariant vit(const char* size, const char* note) {
  const std::string encoder = fmt::format("sam_image_encoder_vit_{}", size);
  return {fmt::format("sam_vit_{}", size),
          {fmt::format("vit_{}", size)},
          "sam_image_encoder",
          find_model(encoder).config,
          note};
}

struct Candidate {
  const SamVariant* variant;
  const Renames* renames;
  CheckpointFit fit;
};

std::vector<Parameter> parameters_of(const SamVariant& variant, const Sam::Options& options) {
  ShapeSource source;
  return Sam(variant, Weights(source, WeightMode::shapes), options).parameters();
}

/// Best first.
std::vector<Candidate> candidates_for(const TensorFile& file, const LoadSamOptions& options) {
  std::vector<Candidate> out;
  Sam::Options whole = options.sam;
  whole.parts = Sam::Parts::all;  // what the file is does not depend on what is read of it
  for (const SamVariant& variant : sam_variants()) {
    if (!options.model.empty() && &variant != &find_sam_variant(options.model)) continue;
    const std::vector<Parameter> parameters = parameters_of(variant, whole);
    for (const Renames& renames : renames_of("sam"))
      out.push_back({&variant, &renames, CheckpointSource(file, renames).fit(parameters)});
  }
  std::stable_sort(out.begin(), out.end(),
                   [](const Candidate& a, const Candidate& b) { return a.fit.faults() < b.fit.faults(); });
  return out;
}

}  // namespace

const std::vector<SamVariant>& sam_variants() {
  static const std::vector<SamVariant> variants = {
      vit("b", "Segment Anything, ViT-B: Kirillov et al. 2023"),
      vit("l", "Segment Anything, ViT-L"),
      vit("h", "Segment Anything, ViT-H"),
      {"mobile_sam",
       {"vit_t"},
       "tiny_vit",
       R"({"naming":"ChaoningZhang/MobileSAM","img_size":1024,"num_classes":0,"downsample_strides":[2,2,1],)"
       R"("neck_chans":256,"unused_head":1000})",
       "MobileSAM, TinyViT: Zhang et al. 2023"},
  };
  return variants;
}

const SamVariant& find_sam_variant(const std::string& name) {
  std::vector<std::string> names;
  for (const SamVariant& variant : sam_variants()) {
    if (variant.name == name ||
        std::find(variant.aliases.begin(), variant.aliases.end(), name) != variant.aliases.end())
      return variant;
    names.push_back(variant.name);
  }
  fail(kOp, "no Segment Anything is called \"{}\"; there are {}", name, fmt::join(names, ", "));
}

Sam::Sam(const SamVariant& variant, const Weights& w, const Options& options)
    : weights_(w), variant_(variant), options_(options) {
  const std::int64_t S = options.image_size, side = S / kPatch;
  require(S >= kPatch && S <= kLargest && S % kPatch == 0, kOp,
          "an image size of {}; a multiple of {} up to {} was expected", S, kPatch, kLargest);
  if (options.parts == Parts::all)
    encoder_ = make_model(variant.encoder_family, variant.encoder_config, w / "image_encoder");
  prompts_ = SamPromptEncoder(w / "prompt_encoder",
                              {.rows = side, .columns = side, .image_rows = S, .image_columns = S});
  decoder_ = SamMaskDecoder(w / "mask_decoder", {});
  if (w.mode() != WeightMode::shapes) positions_ = Var(prompts_.image_positions());
}

Shape Sam::embedding_shape() const {
  const SamPromptEncoder::Options& o = prompts_.options();
  return {1, o.width, o.rows, o.columns};
}

Var Sam::image_embedding(const Context& ctx, const Var& images) const {
  require(encoder_ != nullptr, kOp, "only the decoder was loaded; the picture's embedding must be given");
  const Shape& s = images.shape();
  require(s.rank() == 4 && s[2] == options_.image_size && s[3] == options_.image_size, kOp,
          "images of shape {}; (B, 3, {}, {}) was expected", s.str(), options_.image_size,
          options_.image_size);
  return encoder_->forward(ctx, images);
}

SamPromptEmbedding Sam::encode_prompts(const Context& ctx, const SamPrompts& prompts) const {
  return prompts_(ctx, prompts);
}

SamMasks Sam::decode(const Context& ctx, const Var& embedding, const SamPromptEmbedding& prompts,
                     bool several) const {
  const Shape want = embedding_shape(), &s = embedding.shape();
  require(s.rank() == 4 && s[1] == want[1] && s[2] == want[2] && s[3] == want[3], kOp,
          "an embedding of shape {}; {} was expected for images of {}x{}", s.str(), want.str(),
          options_.image_size, options_.image_size);
  return decoder_(ctx, images_to_tokens(ctx, embedding), positions_, prompts, want[2], want[3], several);
}

LoadedSam load_sam(const std::string& path, const LoadSamOptions& options) {
  const std::unique_ptr<TensorFile> file = open_tensor_file(path);
  const std::vector<Candidate> candidates = candidates_for(*file, options);
  const Candidate& best = candidates.at(0);
  if (best.fit.matched == 0)
    fail("load", "{}: no tensor has a name of Segment Anything's; `locant inspect` lists them", path);
  if (best.fit.faults() > 0)
    fail("load", "{}: does not fit {}{} ({} names): {}", path,
         options.model.empty() ? "any Segment Anything; nearest is " : "", best.variant->name,
         best.renames->naming, describe(best.fit));
  LoadedSam out;
  CheckpointSource source(*file, *best.renames);
  out.sam = std::make_unique<Sam>(*best.variant, Weights(source, options.mode), options.sam);
  out.naming = best.renames->naming;
  out.notes = file->notes();
  if (options.sam.image_size != 1024 && options.sam.parts == Sam::Parts::all)
    out.notes.push_back(fmt::format(
        "images of {0}x{0} instead of 1024x1024: {1}", options.sam.image_size,
        best.variant->encoder_family == "tiny_vit"
            ? "windows are padded anew, no table depends on the size"
            : "the position table is resized (bicubic, antialiased), the global layers' relative positions "
              "linearly"));
  return out;
}

std::optional<ModelGuess> guess_sam(const TensorFile& file) {
  const Candidate best = candidates_for(file, {}).at(0);
  if (best.fit.matched == 0 || best.fit.faults() > 0) return std::nullopt;
  return ModelGuess{best.variant->name, best.renames->naming, best.fit.matched};
}

}  // namespace locant
