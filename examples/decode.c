/* SPDX-License-Identifier: Apache-2.0
 *
 * decode FILE.aec WEIGHTS.safetensors OUT.ppm
 *
 *   cc decode.c $(pkg-config --cflags --libs aecodec) -o decode
 */

#include <aecodec.h>
#include <stdio.h>
#include <stdlib.h>

static void stop(const char *what, const char *why) {
  fprintf(stderr, "%s: %s\n", what, why);
  exit(1);
}

static unsigned char *read_file(const char *path, size_t *size) {
  size_t room = 1 << 16;
  unsigned char *data = malloc(room);
  FILE *file = fopen(path, "rb");
  if (!file) stop(path, "cannot be opened");
  for (*size = 0; data; data = realloc(data, room *= 2)) {
    *size += fread(data + *size, 1, room - *size, file);
    if (*size < room) break;
  }
  if (!data || ferror(file)) stop(path, "cannot be read");
  fclose(file);
  return data;
}

int main(int argc, char **argv) {
  aecodec_options options = {0}; /* the defaults */
  aecodec_weights *weights;
  aecodec_error error;
  aecodec_info info;
  unsigned char *file, *pixels;
  size_t size, stride, total;
  FILE *out;

  if (argc != 4) stop("usage", "decode FILE.aec WEIGHTS.safetensors OUT.ppm");
  options.size = sizeof options;
  options.channels = 3; /* RGB, whatever the picture has: a PPM file holds nothing else */
  file = read_file(argv[1], &size);
  if (aecodec_read_info(file, size, 0, &info, &error)) stop(argv[1], error.text);
  if (aecodec_weights_load_file(argv[2], &weights, &error)) stop(argv[2], error.text);

  stride = 3 * (size_t)info.width;
  total = stride * info.height;
  if (!(pixels = malloc(total))) stop(argv[1], "is too large for this machine");
  if (aecodec_decode(weights, file, size, &options, pixels, stride, total, &error)) stop(argv[1], error.text);
  printf("%ux%u, quality %.2f\n", (unsigned)info.width, (unsigned)info.height, info.level / 100.0);

  if (!(out = fopen(argv[3], "wb"))) stop(argv[3], "cannot be opened");
  fprintf(out, "P6\n%u %u\n255\n", (unsigned)info.width, (unsigned)info.height);
  if (fwrite(pixels, 1, total, out) != total || fclose(out)) stop(argv[3], "cannot be written");

  aecodec_weights_free(weights);
  free(pixels);
  free(file);
  return 0;
}
