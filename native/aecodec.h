/* SPDX-License-Identifier: Apache-2.0
 *
 * libaecodec: .aec files to pixels, and pixels to .aec files. C99.
 *
 *   aecodec_weights *weights;
 *   aecodec_info info;
 *   if (aecodec_weights_load_file("m.safetensors", &weights, NULL) == AECODEC_OK &&
 *       aecodec_read_info(file, size, 0, &info, NULL) == AECODEC_OK) {
 *     size_t stride = (size_t)info.width * info.channels;
 *     unsigned char *pixels = malloc(stride * info.height);
 *     if (aecodec_decode(weights, file, size, NULL, pixels, stride, stride * info.height, NULL) == AECODEC_OK) ...
 *
 * There is no global state: any function may be called from any thread, and weights may be shared between threads.
 * Every byte of a file and of weights may be hostile. Functions return AECODEC_OK or what is wrong; what they should have
 * written is then undefined (pointers that they return are NULL). `error`, where it is not NULL, is always set.
 */

#ifndef AECODEC_H
#define AECODEC_H

#include <stddef.h>
#include <stdint.h>

#if defined(AECODEC_STATIC)
#define AECODEC_API
#elif defined(_WIN32) && defined(AECODEC_BUILD)
#define AECODEC_API __declspec(dllexport)
#elif defined(_WIN32)
#define AECODEC_API __declspec(dllimport)
#elif defined(__GNUC__)
#define AECODEC_API __attribute__((visibility("default")))
#else
#define AECODEC_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Numbers are never changed; new ones may follow. */
typedef enum aecodec_status {
  AECODEC_OK = 0,
  AECODEC_BAD_ARGUMENT = 1,  /* the call itself is wrong: a region outside the picture, a buffer too small */
  AECODEC_BAD_FILE = 2,      /* damaged, or no .aec file */
  AECODEC_TRUNCATED = 3,     /* ends too early */
  AECODEC_UNSUPPORTED = 4,   /* a newer format; alpha or drawn pixels where the library was built without libwebp; alpha to encode */
  AECODEC_OTHER_WEIGHTS = 5, /* the file needs weights of another model_id, or networks are of one */
  AECODEC_TOO_LARGE = 6,     /* more than max_pixels */
  AECODEC_BAD_WEIGHTS = 7,   /* damaged weights, or none */
  AECODEC_CANNOT_READ = 8,   /* a file that cannot be opened or read */
  AECODEC_NO_MEMORY = 9,
  AECODEC_CANCELLED = 10,    /* by the progress function */
  AECODEC_INTERNAL = 11      /* a defect of the library */
} aecodec_status;

/* What went wrong, in English. */
typedef struct aecodec_error {
  aecodec_status status;
  char text[256]; /* with the values that disagree; empty with AECODEC_OK */
} aecodec_error;

/* A few words on a status, never NULL. */
AECODEC_API const char *aecodec_status_text(aecodec_status status);

/* Version of the library, "major.minor.patch". */
AECODEC_API const char *aecodec_version(void);

/* -- Weights ------------------------------------------------------------------------------------------------------ */

/* One model, ready to decode. Nothing changes after loading. */
typedef struct aecodec_weights aecodec_weights;

/* Loads a weights file (.safetensors) and checks its SHA-256. */
AECODEC_API aecodec_status aecodec_weights_load_file(const char *path, aecodec_weights **weights, aecodec_error *error);

/* The same from memory, which is copied as far as it is needed: it may be freed as soon as this returns. */
AECODEC_API aecodec_status aecodec_weights_load(const void *data, size_t size, aecodec_weights **weights,
                                                aecodec_error *error);

/* The number that files name their weights by. */
AECODEC_API uint32_t aecodec_weights_model_id(const aecodec_weights *weights);

/* NULL is allowed. No decoding that uses the weights may be going on. */
AECODEC_API void aecodec_weights_free(aecodec_weights *weights);

/* -- What a file says, without decoding --------------------------------------------------------------------------- */

typedef struct aecodec_info {
  uint32_t width;    /* pixels, 1..65535 */
  uint32_t height;   /* pixels, 1..65535 */
  uint32_t channels; /* of the picture: 1 gray, 2 gray and alpha, 3 RGB, 4 RGBA */
  uint32_t level;    /* quality in hundredths, 100..10000; 0: lossless, or each value within a bound that tiles hold */
  uint32_t model_id; /* of the weights that it needs; 0: none */
  uint32_t tile;     /* side of a tile in pixels, 64..4096, a multiple of 64; the last ones may be cut by the picture */
  uint32_t tile_columns;
  uint32_t tile_rows;
} aecodec_info;

/* Reads the header, for which the first 22 bytes of a file are enough. max_pixels is the most that width * height may be; 0 is
 * 268,435,456. */
AECODEC_API aecodec_status aecodec_read_info(const void *file, size_t size, uint64_t max_pixels, aecodec_info *info,
                                             aecodec_error *error);

typedef enum aecodec_section {
  AECODEC_ICC = 0x81,     /* ICC profile */
  AECODEC_EXIF = 0x82,    /* from the TIFF header on; pixels are not turned by its orientation */
  AECODEC_XMP = 0x83,     /* packet */
  AECODEC_DENSITY = 0x84, /* u32 horizontal, u32 vertical, little-endian, in ten-thousandths of dots per inch */
  AECODEC_DIGEST = 0x85   /* of the decoded picture: see aecodec_digest */
} aecodec_section;

/* Finds a section of metadata and checks its CRC: *payload points into `file`, and is NULL where there is no such section. */
AECODEC_API aecodec_status aecodec_read_section(const void *file, size_t size, aecodec_section section,
                                                const uint8_t **payload, size_t *payload_size, aecodec_error *error);

/* -- Decoding ----------------------------------------------------------------------------------------------------- */

/* 0 is the default of everything but `size`: `aecodec_options options = {0}; options.size = sizeof options;` */
typedef struct aecodec_options {
  size_t size;         /* sizeof(aecodec_options): the structure may grow */
  uint64_t max_pixels; /* the most that the width * height of a file may be; 0: 268,435,456 */
  uint32_t channels;   /* 1 gray, 2 gray and alpha, 3 RGB, 4 RGBA; 0: as the picture. 1 and 2 are for gray pictures alone. Alpha is
                          left out by 1 and 3 (colors are not blended) and 255 where a picture has none */
  uint32_t reduction;  /* 1, 2, 4 or 8: a pixel is the mean of 2x2, 4x4 or (nearly) 8x8; 0: 1 */
  uint32_t x, y;       /* left and top of the region to decode, in pixels of the whole picture */
  uint32_t width;      /* of the region; only the tiles that it needs are read, checked and decoded */
  uint32_t height;     /* both 0: the whole picture */
  uint32_t threads;    /* that work at once; 0: as many as the machine has */
  int (*progress)(void *context, double done); /* called by the thread that decodes with what is done, 0..1; not 0 cancels.
                                                  NULL: none */
  void *context;       /* for progress */
} aecodec_options;

/* Size of what aecodec_decode writes: sides are divided by the reduction and rounded outwards to whole pixels of the reduced
 * picture. options may be NULL. */
AECODEC_API aecodec_status aecodec_output_size(const aecodec_info *info, const aecodec_options *options, uint32_t *width,
                                               uint32_t *height, uint32_t *channels, aecodec_error *error);

/* Decodes into `pixels`: 8 bits for each channel, channels next to each other, rows from the top, each `stride` bytes behind the
 * one before. pixels_size is how many bytes may be written from `pixels` on: at least stride * (height - 1) + width * channels
 * of aecodec_output_size. options may be NULL, and weights where model_id is 0. Pixels are those of docs/format.md, exactly, whatever the region, the threads and
 * the machine. Beside `pixels`, memory does not grow with the height of a picture above 16 megapixels. */
AECODEC_API aecodec_status aecodec_decode(const aecodec_weights *weights, const void *file, size_t size,
                                          const aecodec_options *options, void *pixels, size_t stride, size_t pixels_size,
                                          aecodec_error *error);

#define AECODEC_DIGEST_SIZE 16

/* The digest of pixels as aecodec_decode writes them without options: where the section AECODEC_DIGEST of the file holds the same
 * AECODEC_DIGEST_SIZE bytes, the picture is what the encoder saw, to the last bit. */
AECODEC_API aecodec_status aecodec_digest(const aecodec_info *info, const void *pixels, size_t stride, uint8_t *digest,
                                          aecodec_error *error);

/* -- Encoding ----------------------------------------------------------------------------------------------------- */

/* The networks of an encoder: 4 bytes for each of their weights. Nothing changes after loading. */
typedef struct aecodec_encoder aecodec_encoder;

/* Loads them from the weights file that `weights` came from, or from what web/receivers.py makes of one. `weights` must outlive the
 * encoder; the data need not. */
AECODEC_API aecodec_status aecodec_encoder_load_file(const aecodec_weights *weights, const char *path,
                                                     aecodec_encoder **encoder, aecodec_error *error);

AECODEC_API aecodec_status aecodec_encoder_load(const aecodec_weights *weights, const void *data, size_t size,
                                                aecodec_encoder **encoder, aecodec_error *error);

/* NULL is allowed. No encoding may be going on. */
AECODEC_API void aecodec_encoder_free(aecodec_encoder *encoder);

#define AECODEC_NO_EFFORT 0xFFFFFFFFu

/* 0 is the default of everything but `size`. */
typedef struct aecodec_encode_options {
  size_t size;         /* sizeof(aecodec_encode_options): the structure may grow */
  double quality;      /* 1..100; 0: 55. Not with max_bytes */
  uint64_t max_bytes;  /* the largest file that is wanted: the quality follows, and up to 2 % may be left. 0: none */
  uint64_t max_pixels; /* the most that width * height may be; 0: 268,435,456 */
  uint32_t effort;     /* 1..9: how hard to look for a smaller file. 1 costs no time, from 2 on gradients go through the renderer, up to
                          40 times. 0: 3; AECODEC_NO_EFFORT: less than 1, plain rounding */
  uint32_t tile;       /* side of independently coded tiles in units of 64 pixels, 1..64; 0: 16 */
  uint32_t threads;    /* that work at once; 0: as many as the machine has */
} aecodec_encode_options;

/* Encodes pixels of 8 bits: 1 channel gray, 3 RGB, 4 RGBA, channels next to each other, rows from the top, each `stride` bytes behind the
 * one before. Alpha other than 255 is not supported. Networks code all of the picture: what Python draws (text, screens) is not drawn.
 * options may be NULL. *file is for aecodec_file_free. */
AECODEC_API aecodec_status aecodec_encode(const aecodec_encoder *encoder, const void *pixels, uint32_t width, uint32_t height,
                                          uint32_t channels, size_t stride, const aecodec_encode_options *options,
                                          uint8_t **file, size_t *file_size, aecodec_error *error);

/* NULL is allowed. */
AECODEC_API void aecodec_file_free(uint8_t *file);

#ifdef __cplusplus
}
#endif

#endif
