/* SPDX-License-Identifier: Apache-2.0
 *
 * A gdk-pixbuf loader: programs of GTK and GNOME open .aec files. Weights are the *.safetensors of the folder
 * AECODEC_DATA_DIR (CMake), or of the environment variable AECODEC_DATA.
 */

#define GDK_PIXBUF_ENABLE_BACKEND
#include <gdk-pixbuf/gdk-pixbuf.h>
#include <gmodule.h>
#include <string.h>

#include "aecodec.h"

enum { kHeader = 22, kBytesPerPixel = 16, kMetadata = 64 << 20 };

typedef struct Loading {
  GdkPixbufModuleSizeFunc size_func;
  GdkPixbufModulePreparedFunc prepared_func;
  GdkPixbufModuleUpdatedFunc updated_func;
  gpointer user_data;
  GByteArray *file;
  guint64 limit; /* the most bytes of the file; 0 until its header is known */
  aecodec_info info;
  aecodec_options options;
  gboolean failed;
} Loading;

static gboolean fail(GError **error, aecodec_status status, const char *text) {
  const gint code = status == AECODEC_NO_MEMORY       ? GDK_PIXBUF_ERROR_INSUFFICIENT_MEMORY
                    : status == AECODEC_UNSUPPORTED   ? GDK_PIXBUF_ERROR_UNSUPPORTED_OPERATION
                    : status == AECODEC_OTHER_WEIGHTS ? GDK_PIXBUF_ERROR_FAILED
                                                      : GDK_PIXBUF_ERROR_CORRUPT_IMAGE;
  g_set_error_literal(error, GDK_PIXBUF_ERROR, code, text);
  return FALSE;
}

static const char *data_folder(void) {
  const char *folder = g_getenv("AECODEC_DATA");
  return folder && *folder ? folder : AECODEC_DATA_DIR;
}

/* Weights of a model_id, NULL where there are none. They stay loaded, as a viewer shows many pictures, and no file of the folder is
 * read twice. */
static const aecodec_weights *find_weights(guint32 model_id) {
  static GMutex mutex;
  static GPtrArray *loaded;
  static GDir *folder; /* at the first file that was not read yet */
  const aecodec_weights *found = NULL;
  const char *name;

  g_mutex_lock(&mutex);
  if (!loaded) {
    loaded = g_ptr_array_new();
    folder = g_dir_open(data_folder(), 0, NULL);
  }
  for (guint i = 0; i < loaded->len && !found; ++i)
    if (aecodec_weights_model_id(loaded->pdata[i]) == model_id) found = loaded->pdata[i];
  while (folder && !found && (name = g_dir_read_name(folder))) {
    if (!g_str_has_suffix(name, ".safetensors")) continue;
    char *path = g_build_filename(data_folder(), name, NULL);
    aecodec_weights *weights;
    if (aecodec_weights_load_file(path, &weights, NULL) == AECODEC_OK) {
      g_ptr_array_add(loaded, weights);
      if (aecodec_weights_model_id(weights) == model_id) found = weights;
    }
    g_free(path);
  }
  g_mutex_unlock(&mutex);
  return found;
}

static guint32 number(const guint8 *bytes, int count, gboolean big_endian) {
  guint32 value = 0;
  for (int i = 0; i < count; ++i) value = value << 8 | bytes[big_endian ? i : count - 1 - i];
  return value;
}

/* The orientation in the first directory of EXIF, 1..8; 0: none. */
static guint32 orientation(const guint8 *exif, gsize size) {
  if (size < 8) return 0;
  const gboolean big_endian = exif[0] == 'M';
  gsize at = number(exif + 4, 4, big_endian);
  if (at > size - 2) return 0;
  guint32 entries = number(exif + at, 2, big_endian);
  for (at += 2; entries && size - at >= 12; --entries, at += 12) {
    const guint32 value = number(exif + at + 8, 2, big_endian);
    if (number(exif + at, 2, big_endian) == 0x0112) return value <= 8 ? value : 0;
  }
  return 0;
}

static gboolean set_options(const Loading *loading, GdkPixbuf *pixbuf, GError **error) {
  aecodec_error problem;
  const guint8 *payload;
  gsize size;
  if (aecodec_read_section(loading->file->data, loading->file->len, AECODEC_ICC, &payload, &size, &problem) != AECODEC_OK)
    return fail(error, problem.status, problem.text);
  if (payload) {
    char *profile = g_base64_encode(payload, size);
    gdk_pixbuf_set_option(pixbuf, "icc-profile", profile);
    g_free(profile);
  }
  if (aecodec_read_section(loading->file->data, loading->file->len, AECODEC_EXIF, &payload, &size, &problem) != AECODEC_OK)
    return fail(error, problem.status, problem.text);
  const guint32 turned = payload ? orientation(payload, size) : 0;
  if (turned) {
    const char text[] = {(char)('0' + turned), 0};
    gdk_pixbuf_set_option(pixbuf, "orientation", text);
  }
  return TRUE;
}

/* What can be said before the whole file is there: how large the picture is, and how small the program wants it. */
static gboolean read_header(Loading *loading, GError **error) {
  aecodec_error problem;
  aecodec_info *info = &loading->info;
  if (aecodec_read_info(loading->file->data, loading->file->len, 0, info, &problem) != AECODEC_OK)
    return fail(error, problem.status, problem.text);
  loading->limit = MIN((guint64)info->width * info->height * kBytesPerPixel + kMetadata, G_MAXINT);

  gint width = (gint)info->width, height = (gint)info->height;
  if (loading->size_func) loading->size_func(&width, &height, loading->user_data);
  if (width <= 0 || height <= 0) /* all that the program wanted to know */
    return fail(error, AECODEC_OTHER_WEIGHTS, "no pixels were asked for");
  guint32 reduction = 1; /* gdk-pixbuf scales the rest of the way */
  while (reduction < 8 && info->width / (2 * reduction) >= (guint32)width && info->height / (2 * reduction) >= (guint32)height)
    reduction *= 2;
  loading->options.size = sizeof loading->options;
  loading->options.channels = info->channels % 2 ? 3 : 4;
  loading->options.reduction = reduction;
  return TRUE;
}

static gboolean decode(Loading *loading, GError **error) {
  aecodec_error problem;
  const aecodec_weights *weights = NULL;
  guint32 width, height, channels;
  if (loading->info.model_id && !(weights = find_weights(loading->info.model_id))) {
    g_set_error(error, GDK_PIXBUF_ERROR, GDK_PIXBUF_ERROR_FAILED, "file needs weights %08x, which %s does not have",
                loading->info.model_id, data_folder());
    return FALSE;
  }
  if (aecodec_output_size(&loading->info, &loading->options, &width, &height, &channels, &problem) != AECODEC_OK)
    return fail(error, problem.status, problem.text);
  GdkPixbuf *pixbuf = gdk_pixbuf_new(GDK_COLORSPACE_RGB, channels == 4, 8, (int)width, (int)height);
  if (!pixbuf) return fail(error, AECODEC_NO_MEMORY, "not enough memory for the pixels");
  gboolean done = set_options(loading, pixbuf, error);
  if (done && aecodec_decode(weights, loading->file->data, loading->file->len, &loading->options, gdk_pixbuf_get_pixels(pixbuf),
                             (gsize)gdk_pixbuf_get_rowstride(pixbuf), gdk_pixbuf_get_byte_length(pixbuf), &problem) != AECODEC_OK)
    done = fail(error, problem.status, problem.text);
  if (done && loading->prepared_func) loading->prepared_func(pixbuf, NULL, loading->user_data);
  if (done && loading->updated_func) loading->updated_func(pixbuf, 0, 0, (int)width, (int)height, loading->user_data);
  g_object_unref(pixbuf);
  return done;
}

static gpointer begin_load(GdkPixbufModuleSizeFunc size_func, GdkPixbufModulePreparedFunc prepared_func,
                           GdkPixbufModuleUpdatedFunc updated_func, gpointer user_data, GError **error) {
  (void)error;
  Loading *loading = g_new0(Loading, 1);
  loading->size_func = size_func;
  loading->prepared_func = prepared_func;
  loading->updated_func = updated_func;
  loading->user_data = user_data;
  loading->file = g_byte_array_new();
  return loading;
}

static gboolean load_increment(gpointer context, const guchar *bytes, guint size, GError **error) {
  Loading *loading = context;
  if (loading->failed) return fail(error, AECODEC_BAD_FILE, "loading has failed before");
  /* Not more than the header at first: it says how much may follow. */
  guint used = 0;
  if (!loading->limit) {
    used = MIN(size, kHeader - loading->file->len);
    g_byte_array_append(loading->file, bytes, used);
    if (loading->file->len == kHeader && !read_header(loading, error)) loading->failed = TRUE;
  }
  if (!loading->failed && size > used) {
    if (loading->file->len + (guint64)(size - used) > loading->limit) {
      loading->failed = TRUE;
      fail(error, AECODEC_TOO_LARGE, "file is too long for its number of pixels");
    } else {
      g_byte_array_append(loading->file, bytes + used, size - used);
    }
  }
  return !loading->failed;
}

static gboolean stop_load(gpointer context, GError **error) {
  Loading *loading = context;
  gboolean done = !loading->failed && (loading->limit || read_header(loading, error)) && decode(loading, error);
  g_byte_array_unref(loading->file);
  g_free(loading);
  return done;
}

G_MODULE_EXPORT void fill_vtable(GdkPixbufModule *module);
G_MODULE_EXPORT void fill_info(GdkPixbufFormat *info);

void fill_vtable(GdkPixbufModule *module) {
  module->begin_load = begin_load;
  module->load_increment = load_increment;
  module->stop_load = stop_load;
}

void fill_info(GdkPixbufFormat *info) {
  static GdkPixbufModulePattern signature[] = {{(char *)"\xae" "aec", NULL, 100}, {NULL, NULL, 0}};
  static const char *mime_types[] = {"image/x-aecodec", NULL};
  static const char *extensions[] = {"aec", NULL};
  info->name = (char *)"aec";
  info->description = (char *)"aecodec";
  info->signature = signature;
  info->mime_types = (char **)mime_types;
  info->extensions = (char **)extensions;
  info->flags = GDK_PIXBUF_FORMAT_THREADSAFE;
  info->license = (char *)"Apache-2.0";
}
