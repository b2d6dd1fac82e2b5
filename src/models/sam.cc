#include "models/sam.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "core/error.h"
#include "io/model_folder.h"
#include "models/checkpoint.h"
#include "models/family.h"
#include "models/registry.h"
#include "models/tell.h"
#include "ops/rearrange.h"

namespace locant {
namespace {

constexpr const char* kOp = "sam";
constexpr std::int64_t kLargest = 4096;

const Family& family_of(SamConfig::Encoder encoder) {
  return encoder == SamConfig::Encoder::tiny_vit ? kTinyVit : kSamImageEncoder;
}

template <class Archive, class Config>
void list_fields(Archive& a, Config& c) {
  a.choice("encoder", c.encoder, {"sam_image_encoder", "tiny_vit"});
  a.object("encoder_config", c.encoder_config);
  a.field("image_size", c.image_size);
  a.choice("parts", c.parts, {"all", "decoder"});
  a.field("dim", c.dim);
  a.field("mask_chans", c.mask_chans);
  sam_decoder_fields(a, c.decoder);
}

std::unique_ptr<Model> encoder_of(const SamConfig& c, const Weights& w) {
  if (c.parts == SamConfig::Parts::decoder) return nullptr;
  return build_model(family_of(c.encoder), c.encoder_config, w / "image_encoder");
}

}  // namespace

void fields(ConfigReader& reader, SamConfig& config) { list_fields(reader, config); }
void fields(ConfigWriter& writer, const SamConfig& config) { list_fields(writer, config); }
void fields(ConfigPrint& print, const SamConfig& config) { list_fields(print, config); }

void check(const std::string& op, const SamConfig& c) {
  const std::int64_t patch = c.patch();
  require(patch > 0 && c.image_size >= patch && c.image_size <= kLargest && c.image_size % patch == 0, op,
          "an image size of {}; a multiple of {} up to {} was expected", c.image_size, patch, kLargest);
  check(op, c.prompt_config());
  check(op, c.decoder_config());
}

std::int64_t SamConfig::patch() const {
  Pair side = {16, 16};  // TinyViT's strides make as much
  if (encoder == Encoder::sam_image_encoder) ConfigReader(kOp, encoder_config).field("patch_size", side);
  return side.rows;
}

Pair SamConfig::grid() const {
  const std::int64_t side = image_size / std::max<std::int64_t>(patch(), 1);
  return {side, side};
}

SamPromptEncoderConfig SamConfig::prompt_config() const {
  return {.grid = grid(), .img_size = {image_size, image_size}, .dim = dim, .mask_chans = mask_chans};
}

SamMaskDecoderConfig SamConfig::decoder_config() const {
  SamMaskDecoderConfig out = decoder;
  out.grid = grid();
  out.dim = dim;
  return out;
}

Sam::Sam(const Family& family, SamConfig config, const Weights& w)
    : ModelOf(family, std::move(config)),
      encoder_(encoder_of(c(), w)),
      prompts_(kSamPromptEncoder, c().prompt_config(), w / "prompt_encoder"),
      decoder_(kSamMaskDecoder, c().decoder_config(), w / "mask_decoder") {
  if (w.mode() != WeightMode::shapes) positions_ = Var(prompts_.image_positions());
}

std::vector<Port> Sam::inputs() const {
  std::vector<Port> out = {
      {.name = "images", .axes = "B C H W", .note = "normalised and padded pictures", .optional = true},
      {.name = "image_embedding",
       .axes = "B C H W",
       .note = "of pictures, instead of them",
       .optional = true}};
  for (Port& port : SamPrompts::ports()) out.push_back(std::move(port));
  out.push_back(SamMultimask::port());
  return out;
}

std::vector<Port> Sam::outputs() const {
  return {{"masks", "B M H W", "low-resolution logits"},
          {"iou", "B M", "predicted quality of each"},
          {"image_embedding", "B C H W", "of the pictures"}};
}

Values Sam::compute(const Context& ctx, const Values& in) const {
  const Var images = in.get("images"), given = in.get("image_embedding");
  require(images.defined() != given.defined(), op(), "images or their image_embedding: one of the two");
  const SamPrompts prompts = SamPrompts::from(in);
  const Var embedding = images.defined() ? image_embedding(ctx, images) : given;
  if (images.defined() && prompts.empty() && !in.get(SamMultimask::kName).defined())
    return {{"image_embedding", embedding}};
  const SamMasks out = decode(ctx, embedding, encode_prompts(ctx, prompts), SamMultimask::of(in));
  return {{"masks", out.masks}, {"iou", out.iou}, {"image_embedding", embedding}};
}

void Sam::check_images(const Var& images) const {
  require(encoder_ != nullptr, op(), "only the decoder was loaded; the picture's embedding must be given");
  const Shape& s = images.shape();
  require(s.rank() == 4 && s[2] == image_size() && s[3] == image_size(), op(),
          "images of shape {}; (B, C, {}, {}) was expected: scaled so that the longer side is {}, and padded "
          "with zeros",
          s.str(), image_size(), image_size(), image_size());
}

Features Sam::features(const Context& ctx, const Var& images) const {
  check_images(images);
  return encoder_->features(ctx, images);
}

Var Sam::image_embedding(const Context& ctx, const Var& images) const {
  check_images(images);
  return encoder_->forward(ctx, images);
}

SamPromptEmbedding Sam::encode_prompts(const Context& ctx, const SamPrompts& prompts) const {
  return prompts_(ctx, prompts);
}

SamMasks Sam::decode(const Context& ctx, const Var& embedding, const SamPromptEmbedding& prompts,
                     bool several) const {
  const Shape want = embedding_shape(), &s = embedding.shape();
  require(s.rank() == 4 && s[1] == want[1] && s[2] == want[2] && s[3] == want[3], op(),
          "an embedding of shape {}; {} was expected for images of {}x{}", s.str(), want.str(), image_size(),
          image_size());
  return decoder_(ctx, images_to_tokens(ctx, embedding), positions_, prompts, several);
}

std::unique_ptr<Sam> build_sam(const std::string& config, const Weights& weights) {
  return std::unique_ptr<Sam>(static_cast<Sam*>(build_model(kSam, config, weights).release()));
}

namespace {

/// The registered one of this name; nullptr for no name.
const ModelEntry* sam_called(const std::string& name) {
  if (name.empty()) return nullptr;
  const ModelEntry* entry = entry_called(name);
  if (entry != nullptr && entry->family == kSam.name) return entry;
  std::vector<std::string> names;
  for (const ModelEntry& other : kSam.variants(kSam)) names.push_back(other.name);
  fail(kOp, "no Segment Anything is called \"{}\"; there are {}", name, fmt::join(names, ", "));
}

Reading read_sam(const TensorIndex& index, const ModelFolder& folder, const LoadSamOptions& options) {
  TellRequest request;
  if (!folder.config.empty() && options.model.empty()) {
    const HubConfig hub = read_hub_config(folder.config);
    require(hub.family == &kSam, "load", "{} is of {}, no Segment Anything", folder.config_path,
            hub.model_type);
    request.config = hub.config;
  }
  request.family = &kSam;
  request.model = sam_called(options.model);
  request.key = options.key;
  request.ignore = options.ignore;
  const std::string& path = index.file().path();
  std::vector<Reading> readings = tell(index, request);
  require(!readings.empty(), "load",
          "{}: no tensor has a name of Segment Anything's; `locant inspect` lists them", path);
  Reading& best = readings[0];
  require(!best.config.empty(), "load", "{}: {}", path, best.why);
  if (best.fit.faults() > 0)
    fail("load", "{}: does not fit {}{} ({} names): {}", path,
         options.model.empty() ? "any Segment Anything; nearest is " : "",
         best.entry != nullptr ? best.entry->name : kSam.name, best.renames->naming, describe(best.fit));
  return std::move(best);
}

std::int64_t image_size_of(const std::string& config) {
  return read_config<SamConfig>(kOp, config).image_size;
}

}  // namespace

std::int64_t sam_image_size(const std::string& path, const LoadSamOptions& options) {
  const ModelFolder folder = find_model_folder(path);
  const std::unique_ptr<TensorFile> file = open_tensor_file(folder.weights);
  return image_size_of(read_sam(TensorIndex(*file), folder, options).config);
}

LoadedSam load_sam(const std::string& path, const LoadSamOptions& options) {
  const ModelFolder folder = find_model_folder(path);
  const std::unique_ptr<TensorFile> file = open_tensor_file(folder.weights);
  const TensorIndex index(*file);
  const Reading best = read_sam(index, folder, options);
  const bool whole = options.parts == Sam::Parts::all;
  std::string config = best.config;
  const std::int64_t trained = image_size_of(config);
  const std::int64_t side = options.image_size > 0 ? options.image_size : trained;
  config = merge_config(config, fmt::format(R"({{"image_size":{}}})", side));
  if (!whole) config = merge_config(config, R"({"parts":"decoder"})");
  CheckpointSource source(StateDict(index, best.prefix), *best.renames);
  ShapeSource shapes;
  LoadedSam out;
  out.sam = build_sam(config, options.mode == WeightMode::shapes ? Weights(shapes, options.mode)
                                                                 : Weights(source, options.mode));
  out.name = best.entry != nullptr ? best.entry->name : kSam.name;
  out.naming = best.renames->naming;
  out.key = best.prefix;
  out.notes = folder.notes;
  out.notes.insert(out.notes.end(), file->notes().begin(), file->notes().end());
  out.assumed = best.assumed;
  if (side != trained && whole)
    out.notes.push_back(fmt::format(
        "images of {0}x{0} instead of {1}x{1}: {2}", side, trained,
        out.sam->options().encoder == SamConfig::Encoder::tiny_vit
            ? "windows are padded anew, no table depends on the size"
            : "the position table is resized (bicubic, antialiased), the global layers' relative positions "
              "linearly"));
  return out;
}

namespace {

void encoder_from_shapes(const NamedShapes& s, SamConfig& c) {
  const NamedShapes shapes = s.below("image_encoder");
  c.encoder = shapes.has("patch_embed.proj.weight") ? SamConfig::Encoder::sam_image_encoder
                                                    : SamConfig::Encoder::tiny_vit;
  const Family& family = family_of(c.encoder);
  const std::string plain = family.default_config(family);
  const std::string told = s.told("encoder_config") ? merge_config(plain, c.encoder_config) : "";
  // As variants have it: what differs from the encoder's own defaults.
  c.encoder_config = config_difference(plain, family.from_shapes(family, shapes, told));
  if (shapes.has("pos_embed"))
    c.image_size = c.patch() * shapes.dim("pos_embed", 1);
  else
    s.assume("image_size", c.image_size);
}

void from_shapes(const NamedShapes& s, SamConfig& c) {
  SamMaskDecoderConfig& d = c.decoder;
  c.dim = s.dim("mask_decoder.iou_token.weight", 1);
  c.mask_chans = s.dim("prompt_encoder.mask_downscaling.3.weight", 0);
  d.depth = s.count("mask_decoder.transformer.layers", ".norm1.weight");
  d.mlp_dim = s.dim("mask_decoder.transformer.layers.0.mlp.lin1.weight", 0);
  const std::int64_t inner = s.dim("mask_decoder.transformer.final_attn_token_to_image.q_proj.weight", 0);
  d.downsample_rate = c.dim / std::max<std::int64_t>(inner, 1);
  d.mask_tokens = s.dim("mask_decoder.mask_tokens.weight", 0);
  d.iou_depth = s.count("mask_decoder.iou_prediction_head.layers", ".weight");
  if (d.iou_depth > 1) d.iou_hidden = s.dim("mask_decoder.iou_prediction_head.layers.0.weight", 0);
  encoder_from_shapes(s, c);
  s.assume("heads", d.heads);
  s.assume("norm_eps", d.norm_eps);
}

std::vector<Variant<SamConfig>> variants() {
  std::vector<Variant<SamConfig>> out;
  const std::vector<ModelEntry> encoders = kSamImageEncoder.variants(kSamImageEncoder);
  for (const auto& [size, note] :
       {std::pair{"b", "Segment Anything, ViT-B: Kirillov et al. 2023"},
        std::pair{"l", "Segment Anything, ViT-L"}, std::pair{"h", "Segment Anything, ViT-H"}})
    for (const ModelEntry& encoder : encoders)
      if (encoder.name == fmt::format("sam_image_encoder_vit_{}", size)) {
        SamConfig config;
        config.encoder_config = encoder.config;
        out.push_back({fmt::format("sam_vit_{}", size),
                       config,
                       encoder.preprocess,
                       note,
                       {fmt::format("vit_{}", size)}});
      }
  SamConfig mobile;
  mobile.encoder = SamConfig::Encoder::tiny_vit;
  mobile.encoder_config =
      R"({"img_size":[1024,1024],"num_classes":0,"downsample_strides":[2,2,1],"neck_chans":256,"unused_head":1000})";
  out.push_back(
      {"mobile_sam", mobile, out[0].preprocess, "MobileSAM, TinyViT: Zhang et al. 2023", {"vit_t"}});
  return out;
}

/// Keys within vision_config and the others are written with a dot, ours likewise.
std::vector<HubKeys> hub() {
  HubKeys out{
      .model_type = "sam",
      .keys = {{"vision_config.image_size", "image_size"},
               {"prompt_encoder_config.hidden_size", "dim"},
               {"prompt_encoder_config.mask_input_channels", "mask_chans"},
               {"mask_decoder_config.num_hidden_layers", "depth"},
               {"mask_decoder_config.num_attention_heads", "heads"},
               {"mask_decoder_config.mlp_dim", "mlp_dim"},
               {"mask_decoder_config.layer_norm_eps", "norm_eps"},
               {"mask_decoder_config.attention_downsample_rate", "downsample_rate"},
               {"mask_decoder_config.iou_head_depth", "iou_depth"},
               {"mask_decoder_config.iou_head_hidden_dim", "iou_hidden"}},
      .written = {.name = "Sam",
                  .constants =
                      R"({"initializer_range":0.02,)"
                      R"("vision_config":{"model_type":"sam_vision_model","attention_dropout":0.0,)"
                      R"("initializer_range":1e-10,"qkv_bias":true},)"
                      R"("prompt_encoder_config":{"model_type":"sam_prompt_encoder","hidden_act":"gelu",)"
                      R"("layer_norm_eps":1e-6,"num_point_embeddings":4},)"
                      R"("mask_decoder_config":{"model_type":"sam_mask_decoder","hidden_act":"relu",)"
                      R"("num_multimask_outputs":3}})"}};
  for (const HubKeys& encoder : kSamImageEncoder.hub())
    for (const auto& [theirs, ours] : encoder.keys)
      out.keys.emplace_back("vision_config." + theirs, "encoder_config." + ours);
  return {out};
}

/// The whole model, as facebookresearch and MobileSAM write it.
Renames official_whole() {
  Renames out;
  out.naming = "segment-anything";
  out.unused = {"pixel_mean", "pixel_std"};
  return out;
}

/// Hugging Face's SamModel, as on the hub. The random matrix of the positions is held once or twice.
Renames transformers_whole() {
  Renames out;
  out.naming = "transformers";
  out.rules = {
      {"image_encoder.patch_embed.proj", "vision_encoder.patch_embed.projection"},
      {"image_encoder.blocks.{i}.norm1", "vision_encoder.layers.{i}.layer_norm1"},
      {"image_encoder.blocks.{i}.norm2", "vision_encoder.layers.{i}.layer_norm2"},
      {"image_encoder.blocks.{i}", "vision_encoder.layers.{i}"},
      {"image_encoder.neck.0", "vision_encoder.neck.conv1"},
      {"image_encoder.neck.1", "vision_encoder.neck.layer_norm1"},
      {"image_encoder.neck.2", "vision_encoder.neck.conv2"},
      {"image_encoder.neck.3", "vision_encoder.neck.layer_norm2"},
      {"image_encoder", "vision_encoder"},
      {"prompt_encoder.pe_layer.positional_encoding_gaussian_matrix",
       "shared_image_embedding.positional_embedding"},
      {"prompt_encoder.point_embeddings", "prompt_encoder.point_embed"},
      {"prompt_encoder.mask_downscaling.0", "prompt_encoder.mask_embed.conv1"},
      {"prompt_encoder.mask_downscaling.1", "prompt_encoder.mask_embed.layer_norm1"},
      {"prompt_encoder.mask_downscaling.3", "prompt_encoder.mask_embed.conv2"},
      {"prompt_encoder.mask_downscaling.4", "prompt_encoder.mask_embed.layer_norm2"},
      {"prompt_encoder.mask_downscaling.6", "prompt_encoder.mask_embed.conv3"},
      {"mask_decoder.transformer.layers.{i}.norm{n}", "mask_decoder.transformer.layers.{i}.layer_norm{n}"},
      {"mask_decoder.transformer.norm_final_attn", "mask_decoder.transformer.layer_norm_final_attn"},
      {"mask_decoder.output_upscaling.0", "mask_decoder.upscale_conv1"},
      {"mask_decoder.output_upscaling.1", "mask_decoder.upscale_layer_norm"},
      {"mask_decoder.output_upscaling.3", "mask_decoder.upscale_conv2"},
      {"mask_decoder.output_hypernetworks_mlps.{m}.layers.0",
       "mask_decoder.output_hypernetworks_mlps.{m}.proj_in"},
      {"mask_decoder.output_hypernetworks_mlps.{m}.layers.1",
       "mask_decoder.output_hypernetworks_mlps.{m}.layers.0"},
      {"mask_decoder.output_hypernetworks_mlps.{m}.layers.2",
       "mask_decoder.output_hypernetworks_mlps.{m}.proj_out"},
      {"mask_decoder.iou_prediction_head.layers.0", "mask_decoder.iou_prediction_head.proj_in"},
      {"mask_decoder.iou_prediction_head.layers.1", "mask_decoder.iou_prediction_head.layers.0"},
      {"mask_decoder.iou_prediction_head.layers.2", "mask_decoder.iou_prediction_head.proj_out"},
  };
  out.aliases = {{"prompt_encoder.shared_embedding.positional_embedding",
                  "shared_image_embedding.positional_embedding"}};
  return out;
}

std::vector<Renames> renames() {
  std::vector<Renames> out = {official_whole(), transformers_whole()};
  for (Renames& renames : out)  // of MobileSAM's encoder
    renames.derived = {"*.num_batches_tracked", "*.attention_bias_idxs", "*.attn.ab"};
  return out;
}

}  // namespace

const Family kSam = family<Sam, variants, renames, from_shapes, hub>("sam");

}  // namespace locant
