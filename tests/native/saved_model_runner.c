/* Runs a SavedModel without Python: loads it as TensorFlow Serving does (the C++ loader
   behind TF_LoadSessionFromSavedModel, tag "serve"), then answers requests from a file.

     saved_model_runner <saved model> <requests> <answers>

   One load, any number of requests, one after another. A request that fails becomes an
   answer with a code and a message, and the next one runs. Requests are read one at a
   time, so that resident memory tells of the model, not of the file. Standard output
   gets a line per request and the peak memory.

   Exit status: 0 every request was answered; 1 the model cannot be loaded, or a file
   not opened or written; 2 wrong arguments, or requests that cannot be read to their
   end. Unless it is 0, the last line on standard error says why, and no file of
   answers is left.

   Files, all numbers in the machine's byte order:

     requests  "REQUESTS", uint32 count; each:
                 uint32 feeds, each a text (tensor name, "operation:index") and a tensor
                 uint32 fetches, each a text (tensor name)
     answers   "ANSWERS.", uint32 count, float64 seconds of loading,
               uint64 resident bytes after it; each:
                 text code ("OK", "INVALID_ARGUMENT", ...), text message,
                 float64 seconds inside TF_SessionRun,
                 uint64 resident bytes afterwards, uint64 peak of them so far,
                 uint32 outputs (0 unless OK), each a tensor, in order of the fetches
     text      uint64 length, that many bytes
     tensor    uint32 TF_DataType, uint32 rank, int64 sizes[rank], then the elements in
               row-major order: numbers as they lie in memory, strings as texts

   Tensors may be of any type whose elements are numbers or bool, or strings. */

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tensorflow/c/c_api.h"
#include "tensorflow/c/tf_tstring.h"

enum { MAX_RANK = 254, MAX_TENSORS = 4096 };

static bool complain(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fputs("saved_model_runner: ", stderr);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  va_end(arguments);
  return false;
}

static const char *code_name(TF_Code code) {
  switch (code) {
    case TF_OK: return "OK";
    case TF_CANCELLED: return "CANCELLED";
    case TF_UNKNOWN: return "UNKNOWN";
    case TF_INVALID_ARGUMENT: return "INVALID_ARGUMENT";
    case TF_DEADLINE_EXCEEDED: return "DEADLINE_EXCEEDED";
    case TF_NOT_FOUND: return "NOT_FOUND";
    case TF_ALREADY_EXISTS: return "ALREADY_EXISTS";
    case TF_PERMISSION_DENIED: return "PERMISSION_DENIED";
    case TF_UNAUTHENTICATED: return "UNAUTHENTICATED";
    case TF_RESOURCE_EXHAUSTED: return "RESOURCE_EXHAUSTED";
    case TF_FAILED_PRECONDITION: return "FAILED_PRECONDITION";
    case TF_ABORTED: return "ABORTED";
    case TF_OUT_OF_RANGE: return "OUT_OF_RANGE";
    case TF_UNIMPLEMENTED: return "UNIMPLEMENTED";
    case TF_INTERNAL: return "INTERNAL";
    case TF_UNAVAILABLE: return "UNAVAILABLE";
    case TF_DATA_LOSS: return "DATA_LOSS";
  }
  return "UNKNOWN";
}

/* ---- What the process takes: time and memory. ---- */

static double seconds_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static uint64_t resident_bytes(void) {
  uint64_t pages = 0;
  FILE *file = fopen("/proc/self/statm", "r");
  if (file != NULL) {
    if (fscanf(file, "%*u %" SCNu64, &pages) != 1) pages = 0;
    fclose(file);
  }
  return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* The high-water mark of this program's own memory. (getrusage would do, but after an
   exec it still counts the process that started this one.) */
static uint64_t peak_bytes(void) {
  uint64_t kilobytes = 0;
  char line[256];
  FILE *file = fopen("/proc/self/status", "r");
  if (file != NULL) {
    while (fgets(line, sizeof line, file) != NULL)
      if (sscanf(line, "VmHWM: %" SCNu64, &kilobytes) == 1) break;
    fclose(file);
  }
  return kilobytes * 1024;
}

/* ---- Reading requests. Every size is held against what is left of the file before
   anything is allocated for it. ---- */

typedef struct {
  FILE *file;
  const char *path;
  uint64_t remaining; /* bytes of the file that have not been read */
} Reader;

static bool malformed(const Reader *reader, const char *what) {
  return complain("%s: malformed, %s", reader->path, what);
}

static bool take(Reader *reader, void *into, uint64_t size) {
  if (size > reader->remaining) return malformed(reader, "it ends too early");
  if (size > 0 && fread(into, 1, size, reader->file) != size)
    return malformed(reader, "it cannot be read to its end");
  reader->remaining -= size;
  return true;
}

static bool take_count(Reader *reader, uint32_t *count) {
  if (!take(reader, count, sizeof *count)) return false;
  return *count <= MAX_TENSORS || malformed(reader, "a request has too many tensors");
}

/* A text, ended by a zero byte for C; NULL if there is none. The caller frees it. */
static char *take_text(Reader *reader, uint64_t *length) {
  if (!take(reader, length, sizeof *length)) return NULL;
  if (*length > reader->remaining) {
    malformed(reader, "a text is longer than the file");
    return NULL;
  }
  char *text = malloc(*length + 1);
  if (text == NULL) {
    complain("out of memory");
    return NULL;
  }
  text[*length] = '\0';
  if (take(reader, text, *length)) return text;
  free(text);
  return NULL;
}

/* TensorFlow calls it when nothing holds the strings any longer, be that this program
   or a tensor of the session that shares them. */
static void free_strings(void *data, size_t size, void *unused) {
  (void)unused;
  TF_TString *strings = data;
  for (size_t i = 0; i < size / sizeof *strings; ++i) TF_StringDealloc(&strings[i]);
  free(strings);
}

static TF_Tensor *take_strings(Reader *reader, const int64_t *sizes, int rank,
                               uint64_t count) {
  TF_TString *strings = malloc(count > 0 ? count * sizeof *strings : 1);
  if (strings == NULL) {
    complain("out of memory");
    return NULL;
  }
  for (uint64_t i = 0; i < count; ++i) TF_StringInit(&strings[i]);
  bool complete = true;
  for (uint64_t i = 0; complete && i < count; ++i) {
    uint64_t length;
    char *text = take_text(reader, &length);
    complete = text != NULL;
    if (complete) TF_StringCopy(&strings[i], text, length);
    free(text);
  }
  if (complete)
    return TF_NewTensor(TF_STRING, sizes, rank, strings, count * sizeof *strings,
                        free_strings, NULL);
  free_strings(strings, count * sizeof *strings, NULL);
  return NULL;
}

static TF_Tensor *take_tensor(Reader *reader) {
  uint32_t type, rank;
  int64_t sizes[MAX_RANK];
  if (!take(reader, &type, sizeof type) || !take(reader, &rank, sizeof rank))
    return NULL;
  if (rank > MAX_RANK) {
    malformed(reader, "a tensor has too many dimensions");
    return NULL;
  }
  if (!take(reader, sizes, rank * sizeof *sizes)) return NULL;

  uint64_t least = sizeof(uint64_t); /* that a string takes in the file: its length */
  if (type != TF_STRING) least = TF_DataTypeSize((TF_DataType)type);
  if (least == 0) {
    malformed(reader, "a tensor is of a type that cannot be fed");
    return NULL;
  }
  int64_t count = 1;
  uint64_t bytes;
  bool fits = true;
  for (uint32_t axis = 0; axis < rank; ++axis)
    fits = fits && sizes[axis] >= 0 &&
           !__builtin_mul_overflow(count, sizes[axis], &count);
  fits = fits && !__builtin_mul_overflow((uint64_t)count, least, &bytes);
  if (!fits || bytes > reader->remaining) {
    malformed(reader, "a tensor's shape does not fit into the file");
    return NULL;
  }
  if (type == TF_STRING) return take_strings(reader, sizes, (int)rank, (uint64_t)count);

  TF_Tensor *tensor = TF_AllocateTensor((TF_DataType)type, sizes, (int)rank, bytes);
  if (tensor == NULL) {
    complain("out of memory");
    return NULL;
  }
  if (take(reader, TF_TensorData(tensor), bytes)) return tensor;
  TF_DeleteTensor(tensor);
  return NULL;
}

/* One request as read, and, once it has run, what the session gave. */
typedef struct {
  uint32_t feeds, fetches;
  char **feed_names, **fetch_names;
  TF_Tensor **fed, **fetched;
  TF_Output *feed_outputs, *fetch_outputs;
} Request;

static void free_request(Request *request) {
  for (uint32_t i = 0; i < request->feeds; ++i) {
    if (request->feed_names != NULL) free(request->feed_names[i]);
    if (request->fed != NULL && request->fed[i] != NULL)
      TF_DeleteTensor(request->fed[i]);
  }
  for (uint32_t i = 0; i < request->fetches; ++i) {
    if (request->fetch_names != NULL) free(request->fetch_names[i]);
    if (request->fetched != NULL && request->fetched[i] != NULL)
      TF_DeleteTensor(request->fetched[i]);
  }
  free(request->feed_names);
  free(request->fetch_names);
  free(request->fed);
  free(request->fetched);
  free(request->feed_outputs);
  free(request->fetch_outputs);
}

/* Fills a zeroed request; the caller frees it, also what is there after a failure. */
static bool take_request(Reader *reader, Request *request) {
  uint64_t length;
  if (!take_count(reader, &request->feeds)) {
    request->feeds = 0;
    return false;
  }
  request->feed_names = calloc(request->feeds + 1, sizeof *request->feed_names);
  request->fed = calloc(request->feeds + 1, sizeof *request->fed);
  request->feed_outputs = calloc(request->feeds + 1, sizeof *request->feed_outputs);
  if (!request->feed_names || !request->fed || !request->feed_outputs)
    return complain("out of memory");
  for (uint32_t i = 0; i < request->feeds; ++i) {
    request->feed_names[i] = take_text(reader, &length);
    if (request->feed_names[i] == NULL) return false;
    request->fed[i] = take_tensor(reader);
    if (request->fed[i] == NULL) return false;
  }

  if (!take_count(reader, &request->fetches)) {
    request->fetches = 0;
    return false;
  }
  request->fetch_names = calloc(request->fetches + 1, sizeof *request->fetch_names);
  request->fetched = calloc(request->fetches + 1, sizeof *request->fetched);
  request->fetch_outputs = calloc(request->fetches + 1, sizeof *request->fetch_outputs);
  if (!request->fetch_names || !request->fetched || !request->fetch_outputs)
    return complain("out of memory");
  for (uint32_t i = 0; i < request->fetches; ++i) {
    request->fetch_names[i] = take_text(reader, &length);
    if (request->fetch_names[i] == NULL) return false;
  }
  return true;
}

/* ---- Running. ---- */

/* The tensor that is called "operation:index", or "operation" for its first output. */
static TF_Output find_output(TF_Graph *graph, const char *name, TF_Status *status) {
  TF_Output output = {NULL, 0};
  const char *colon = strrchr(name, ':');
  size_t length = colon != NULL ? (size_t)(colon - name) : strlen(name);
  long index = 0;
  char *end = NULL;
  if (colon != NULL) index = strtol(colon + 1, &end, 10);
  bool readable = colon == NULL || (end != colon + 1 && *end == '\0');

  char *operation = malloc(length + 1);
  if (operation != NULL && readable) {
    memcpy(operation, name, length);
    operation[length] = '\0';
    output.oper = TF_GraphOperationByName(graph, operation);
  }
  free(operation);
  if (output.oper == NULL || index < 0 ||
      index >= TF_OperationNumOutputs(output.oper)) {
    char message[512];
    snprintf(message, sizeof message, "the graph has no tensor '%.400s'", name);
    TF_SetStatus(status, TF_NOT_FOUND, message);
    return output;
  }
  output.index = (int)index;
  return output;
}

/* Runs a request; what went wrong stands in status. Returns seconds in the session. */
static double run_request(TF_Session *session, TF_Graph *graph, Request *request,
                          TF_Status *status) {
  TF_SetStatus(status, TF_OK, "");
  for (uint32_t i = 0; i < request->feeds && TF_GetCode(status) == TF_OK; ++i)
    request->feed_outputs[i] = find_output(graph, request->feed_names[i], status);
  for (uint32_t i = 0; i < request->fetches && TF_GetCode(status) == TF_OK; ++i)
    request->fetch_outputs[i] = find_output(graph, request->fetch_names[i], status);
  if (TF_GetCode(status) != TF_OK) return 0.0;

  double start = seconds_now();
  TF_SessionRun(session, NULL, request->feed_outputs, request->fed, (int)request->feeds,
                request->fetch_outputs, request->fetched, (int)request->fetches, NULL,
                0, NULL, status);
  double seconds = seconds_now() - start;

  for (uint32_t i = 0; i < request->fetches && TF_GetCode(status) == TF_OK; ++i) {
    TF_DataType type = TF_TensorType(request->fetched[i]);
    if (type == TF_STRING || TF_DataTypeSize(type) > 0) continue;
    char message[512];
    snprintf(message, sizeof message, "'%.400s' is of a type that cannot be written",
             request->fetch_names[i]);
    TF_SetStatus(status, TF_UNIMPLEMENTED, message);
  }
  return seconds;
}

/* ---- Writing answers. Failed writes are found once, by ferror, at the end. ---- */

static void put(FILE *file, const void *data, size_t size) {
  if (size > 0) fwrite(data, 1, size, file);
}

static void put_text(FILE *file, const char *text, uint64_t length) {
  put(file, &length, sizeof length);
  put(file, text, length);
}

static void put_tensor(FILE *file, const TF_Tensor *tensor) {
  uint32_t type = TF_TensorType(tensor);
  uint32_t rank = (uint32_t)TF_NumDims(tensor);
  put(file, &type, sizeof type);
  put(file, &rank, sizeof rank);
  for (uint32_t axis = 0; axis < rank; ++axis) {
    int64_t size = TF_Dim(tensor, (int)axis);
    put(file, &size, sizeof size);
  }
  if (type != TF_STRING) {
    put(file, TF_TensorData(tensor), TF_TensorByteSize(tensor));
    return;
  }
  const TF_TString *strings = TF_TensorData(tensor);
  int64_t count = TF_TensorElementCount(tensor);
  for (int64_t i = 0; i < count; ++i)
    put_text(file, TF_StringGetDataPointer(&strings[i]), TF_StringGetSize(&strings[i]));
}

static void put_answer(FILE *file, const Request *request, const TF_Status *status,
                       double seconds, uint64_t resident, uint64_t peak) {
  const char *code = code_name(TF_GetCode(status));
  const char *message = TF_Message(status);
  uint32_t outputs = TF_GetCode(status) == TF_OK ? request->fetches : 0;
  put_text(file, code, strlen(code));
  put_text(file, message, strlen(message));
  put(file, &seconds, sizeof seconds);
  put(file, &resident, sizeof resident);
  put(file, &peak, sizeof peak);
  put(file, &outputs, sizeof outputs);
  for (uint32_t i = 0; i < outputs; ++i) put_tensor(file, request->fetched[i]);
}

/* ---- The program. ---- */

static TF_Session *load(const char *path, TF_Graph *graph, TF_Status *status) {
  const char *tags[] = {"serve"};
  TF_SessionOptions *options = TF_NewSessionOptions();
  TF_Session *session =
      TF_LoadSessionFromSavedModel(options, NULL, path, tags, 1, graph, NULL, status);
  TF_DeleteSessionOptions(options);
  if (session == NULL)
    complain("%s: %s: %s", path, code_name(TF_GetCode(status)), TF_Message(status));
  return session;
}

static bool answer_all(TF_Session *session, TF_Graph *graph, TF_Status *status,
                       Reader *reader, uint32_t count, FILE *answers) {
  for (uint32_t i = 0; i < count; ++i) {
    Request request = {0};
    bool complete = take_request(reader, &request);
    if (complete) {
      double seconds = run_request(session, graph, &request, status);
      uint64_t resident = resident_bytes(), peak = peak_bytes();
      put_answer(answers, &request, status, seconds, resident, peak);
      printf("request %" PRIu32 ": %s, %.3f ms, resident %.1f MiB\n", i,
             code_name(TF_GetCode(status)), 1e3 * seconds,
             (double)resident / (1 << 20));
    }
    free_request(&request);
    if (!complete) return false;
  }
  printf("peak %.1f MiB\n", (double)peak_bytes() / (1 << 20));
  return reader->remaining == 0 || malformed(reader, "bytes follow its last request");
}

static bool open_requests(const char *path, Reader *reader, uint32_t *count) {
  struct stat facts;
  char start[8];
  reader->path = path;
  reader->file = fopen(path, "rb");
  if (reader->file == NULL || fstat(fileno(reader->file), &facts) != 0)
    return complain("%s: cannot be read", path);
  reader->remaining = (uint64_t)facts.st_size;
  if (!take(reader, start, sizeof start)) return false;
  if (memcmp(start, "REQUESTS", sizeof start) != 0)
    return malformed(reader, "it does not begin with REQUESTS");
  return take(reader, count, sizeof *count);
}

/* Loads, answers, and puts the answers in place once they are complete. */
static int serve(const char *model, Reader *reader, uint32_t count, const char *path) {
  size_t length = strlen(path) + sizeof ".partial";
  char *partial = malloc(length);
  if (partial == NULL) return complain("out of memory"), 1;
  snprintf(partial, length, "%s.partial", path);

  TF_Status *status = TF_NewStatus();
  TF_Graph *graph = TF_NewGraph();
  double start = seconds_now();
  TF_Session *session = load(model, graph, status);
  double seconds = seconds_now() - start;
  FILE *answers = session != NULL ? fopen(partial, "wb") : NULL;
  int exit_status = 1;
  if (session != NULL && answers == NULL) complain("%s: cannot be written", partial);
  if (answers != NULL) {
    uint64_t resident = resident_bytes();
    printf("loaded in %.3f s, resident %.1f MiB\n", seconds,
           (double)resident / (1 << 20));
    put(answers, "ANSWERS.", 8);
    put(answers, &count, sizeof count);
    put(answers, &seconds, sizeof seconds);
    put(answers, &resident, sizeof resident);
    bool answered = answer_all(session, graph, status, reader, count, answers);
    bool written = !ferror(answers);
    written = fclose(answers) == 0 && written;
    if (!answered) {
      exit_status = 2;
    } else if (!written || rename(partial, path) != 0) {
      complain("%s: cannot be written", path);
    } else {
      exit_status = 0;
    }
    if (exit_status != 0) remove(partial);
  }

  if (session != NULL) {
    TF_CloseSession(session, status);
    TF_DeleteSession(session, status);
  }
  TF_DeleteGraph(graph);
  TF_DeleteStatus(status);
  free(partial);
  return exit_status;
}

int main(int argument_count, char **arguments) {
  Reader reader = {0};
  uint32_t count;
  int exit_status = 2;
  if (argument_count != 4) {
    complain("usage: saved_model_runner <saved model> <requests> <answers>");
    return exit_status;
  }
  if (open_requests(arguments[2], &reader, &count)) {
    exit_status = serve(arguments[1], &reader, count, arguments[3]);
  } else if (reader.file == NULL) {
    exit_status = 1;
  }
  if (reader.file != NULL) fclose(reader.file);
  return exit_status;
}
