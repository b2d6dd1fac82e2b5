#pragma once

/// Every model family, one line each, in the order that lists show them: the constant at the end of its file.
#define LOCANT_FAMILIES(FAMILY)  \
  FAMILY(kSwin)                  \
  FAMILY(kSwinV2)                \
  FAMILY(kVideoSwin)             \
  FAMILY(kAimSwin)               \
  FAMILY(kVit)                   \
  FAMILY(kDeit)                  \
  FAMILY(kDinov2)                \
  FAMILY(kBeit)                  \
  FAMILY(kVitRelpos)             \
  FAMILY(kSimpleVit)             \
  FAMILY(kTinyVit)               \
  FAMILY(kLevit)                 \
  FAMILY(kPvt)                   \
  FAMILY(kTwinsPcpvt)            \
  FAMILY(kTwinsSvt)              \
  FAMILY(kCait)                  \
  FAMILY(kConvit)                \
  FAMILY(kCvt)                   \
  FAMILY(kCeit)                  \
  FAMILY(kAxialResnet)           \
  FAMILY(kPvtV2)                 \
  FAMILY(kCpvt)                  \
  FAMILY(kLocalVit)              \
  FAMILY(kGpsaLayer)             \
  FAMILY(kDeitIrpe)              \
  FAMILY(kDetrIrpe)              \
  FAMILY(kT5Encoder)             \
  FAMILY(kTransformerXlModel)    \
  FAMILY(kDebertaV2)             \
  FAMILY(kConformerModel)        \
  FAMILY(kWav2Vec2Conformer)     \
  FAMILY(kMusicTransformerModel) \
  FAMILY(kTransformerEncoder)    \
  FAMILY(kLinearTransformer)     \
  FAMILY(kWindowAttentionV2)     \
  FAMILY(kSam)                   \
  FAMILY(kSamImageEncoder)       \
  FAMILY(kSamPromptEncoder)      \
  FAMILY(kSamMaskDecoder)
