#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "models/load.h"
#include "models/model.h"
#include "models/sam_mask_decoder.h"
#include "models/sam_prompt_encoder.h"

namespace locant {

struct SamConfig {
  enum class Encoder { sam_image_encoder, tiny_vit };
  /// all; or what answers prompts on an embedding that is there already: no image encoder.
  enum class Parts { all, decoder };
  Encoder encoder = Encoder::sam_image_encoder;
  std::string encoder_config = "{}";  ///< of that family; JSON object
  std::int64_t image_size = 1024;     ///< side of the padded square, a multiple of 16
  Parts parts = Parts::all;
  std::int64_t dim = 256, mask_chans = 16;
  SamMaskDecoderConfig decoder = {};  ///< grid and dim follow from the others

  /// Pixels of a side that become one of the image embedding.
  std::int64_t patch() const;
  /// Of the image embedding.
  Pair grid() const;
  SamPromptEncoderConfig prompt_config() const;
  SamMaskDecoderConfig decoder_config() const;
};
void fields(ConfigReader& reader, SamConfig& config);
void fields(ConfigWriter& writer, const SamConfig& config);
void fields(ConfigPrint& print, const SamConfig& config);
void check(const std::string& op, const SamConfig& config);

/// The whole of Segment Anything: Kirillov et al. 2023; MobileSAM, Zhang et al. 2023. Tensor names are those
/// of facebookresearch/segment-anything: `image_encoder.*`, `prompt_encoder.*`, `mask_decoder.*`. run() takes
/// images or their embedding; with images and nothing else it gives the embedding alone.
class Sam final : public ModelOf<SamConfig> {
 public:
  using Parts = SamConfig::Parts;
  Sam(const Family& family, SamConfig config, const Weights& w);
  std::vector<Port> inputs() const override;
  std::vector<Port> outputs() const override;
  static std::vector<std::string> call_options() { return SamMaskDecoder::call_options(); }
  /// Of the image encoder. Throws Error when it is not there, or the images have another size.
  Features features(const Context& ctx, const Var& images) const override;

  /// images (B, C, image_size, image_size), normalised and padded -> (B, 256, image_size / 16, ..). Throws
  /// Error when the image encoder is not there, or the images have another size.
  Var image_embedding(const Context& ctx, const Var& images) const;
  /// Prompts in pixels of the padded square.
  SamPromptEmbedding encode_prompts(const Context& ctx, const SamPrompts& prompts) const;
  /// embedding (1 or B, 256, rows, columns) of image_embedding. `several`: three masks, else one. Logits of
  /// image_size / 4 a side.
  SamMasks decode(const Context& ctx, const Var& embedding, const SamPromptEmbedding& prompts,
                  bool several) const;

  std::int64_t image_size() const { return c().image_size; }
  /// (1, 256, rows, columns)
  Shape embedding_shape() const { return {1, c().dim, c().grid().rows, c().grid().columns}; }
  bool has_image_encoder() const { return encoder_ != nullptr; }

 private:
  Values compute(const Context& ctx, const Values& in) const override;
  void check_images(const Var& images) const;

  std::unique_ptr<Model> encoder_;
  SamPromptEncoder prompts_;
  SamMaskDecoder decoder_;
  Var positions_;  // (1, rows * columns, C)
};

/// Builds one of a configuration of the family "sam", as build_model does.
std::unique_ptr<Sam> build_sam(const std::string& config, const Weights& weights);

struct LoadedSam {
  std::shared_ptr<const Sam> sam;
  std::string name;    ///< of the registered variant, "sam_vit_b", "mobile_sam"; "sam" for one of its own
  std::string naming;  ///< whose tensor names the file used
  std::string key;     ///< what stood before them, with the last dot
  std::vector<std::string> notes;    ///< lines for people
  std::vector<std::string> assumed;  ///< what neither file nor caller says
};

struct LoadSamOptions {
  std::string model = {};  ///< variant, by name or alias; empty: told by the tensors
  WeightMode mode = WeightMode::inference;
  std::int64_t image_size = 0;  ///< side of the padded square, a multiple of 16; 0: what it was trained at
  Sam::Parts parts = Sam::Parts::all;
  std::optional<std::string> key = {};   ///< what stands before the model's names in the file
  std::vector<std::string> ignore = {};  ///< glob patterns of tensors that are left out
};

/// Opens official .pth, Hugging Face's SamModel and MobileSAM's .pt, on their own or within a training
/// checkpoint. Throws Error that names missing and unknown tensors when nothing fits.
LoadedSam load_sam(const std::string& path, const LoadSamOptions& options = {});
/// The side of the square that it was trained at, from names and shapes alone. Throws Error as load_sam does.
std::int64_t sam_image_size(const std::string& path, const LoadSamOptions& options = {});

}  // namespace locant
