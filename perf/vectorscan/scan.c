/* Vectorscan (or Hyperscan) on the texts and expressions that Penstock is measured with.
 *
 * scan PATTERNS reads expressions from a file and commands from standard input, and answers each
 * command with one line of JSON. It is a tool of the measurements and no part of the product.
 *
 * PATTERNS: for each expression a line "ID FLAGS BYTES" and then so many bytes and a line feed.
 * FLAGS: `-`, or letters: i caseless, m multi-line, s dot-all, u UTF-8, l leftmost start of match.
 *
 *   compile block|stream           {"patterns","refused":[…],"compile_ns","bytes","state_bytes"}
 *   corpus PATH                    {"bytes"}
 *   block BLOCK REPEATS            {"bytes","cpu_ns","matches"}
 *   stream BLOCK CHUNK REPEATS     {"bytes","cpu_ns","matches"}   state carried within a block
 *   ends BYTES, then the text      {"ends":[[index,end],…]}       index counts PATTERNS from 0
 *
 * Blocks and chunks are cut as Penstock's are: shortened to whole UTF-8 characters.
 */
#define _POSIX_C_SOURCE 200809L
#include <hs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PATTERNS_MAX 8192

static char *expressions[PATTERNS_MAX];
static char *names[PATTERNS_MAX];
static unsigned flags[PATTERNS_MAX];
static unsigned count;

static const char *live_expressions[PATTERNS_MAX];
static unsigned live_flags[PATTERNS_MAX], live_ids[PATTERNS_MAX];

static hs_database_t *block_db, *stream_db;
static hs_scratch_t *scratch;
static char *corpus;
static size_t corpus_bytes;

static void die(const char *what) {
    fprintf(stderr, "scan: %s\n", what);
    exit(1);
}

static void *take(size_t bytes) {
    void *memory = malloc(bytes ? bytes : 1);
    if (!memory) die("out of memory");
    return memory;
}

static uint64_t cpu_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static unsigned flags_of(const char *letters) {
    unsigned all = 0;
    for (; *letters; letters++) switch (*letters) {
        case 'i': all |= HS_FLAG_CASELESS; break;
        case 'm': all |= HS_FLAG_MULTILINE; break;
        case 's': all |= HS_FLAG_DOTALL; break;
        case 'u': all |= HS_FLAG_UTF8; break;
        case 'l': all |= HS_FLAG_SOM_LEFTMOST; break;
        }
    return all;
}

static void read_patterns(const char *path) {
    FILE *file = fopen(path, "rb");
    char name[256], letters[32];
    size_t bytes;
    if (!file) die("cannot open the patterns");
    while (count < PATTERNS_MAX && fscanf(file, "%255s %31s %zu", name, letters, &bytes) == 3) {
        char *text = take(bytes + 1);
        fgetc(file);
        if (fread(text, 1, bytes, file) != bytes) die("the patterns end early");
        text[bytes] = 0;
        names[count] = strdup(name);
        expressions[count] = text;
        flags[count++] = flags_of(letters);
    }
    fclose(file);
}

static void print_escaped(const char *text) {
    for (; *text; text++) {
        if (*text == '"' || *text == '\\') putchar('\\');
        putchar((unsigned char)*text < 0x20 ? ' ' : *text);
    }
}

/* Compiles what compiles; an expression that does not is left out and named. */
static void compile(const char *how) {
    int streaming = strcmp(how, "stream") == 0;
    unsigned mode = streaming ? HS_MODE_STREAM : HS_MODE_BLOCK, live = 0;
    hs_database_t *db = NULL;
    hs_compile_error_t *error = NULL;
    size_t bytes = 0, state = 0;
    int refused = 0;
    for (unsigned i = 0; i < count; i++)
        if (flags[i] & HS_FLAG_SOM_LEFTMOST) mode |= streaming ? HS_MODE_SOM_HORIZON_LARGE : 0;
    for (unsigned i = 0; i < count; i++, live++) {
        live_expressions[live] = expressions[i];
        live_flags[live] = flags[i];
        live_ids[live] = i;
    }
    printf("{\"refused\":[");
    uint64_t spent = 0;
    for (;;) {
        uint64_t from = cpu_ns();
        hs_error_t result =
            hs_compile_multi(live_expressions, live_flags, live_ids, live, mode, NULL, &db, &error);
        spent = cpu_ns() - from;
        if (result == HS_SUCCESS) break;
        if (error->expression < 0 || live == 0) {
            printf("%s\"the whole set: ", refused ? "," : "");
            print_escaped(error->message);
            printf("\"],\"patterns\":0}\n");
            fflush(stdout);
            hs_free_compile_error(error);
            return;
        }
        unsigned at = (unsigned)error->expression;
        printf("%s\"%s: ", refused++ ? "," : "", names[live_ids[at]]);
        print_escaped(error->message);
        putchar('"');
        hs_free_compile_error(error);
        live--;
        memmove(live_expressions + at, live_expressions + at + 1, (live - at) * sizeof *live_expressions);
        memmove(live_flags + at, live_flags + at + 1, (live - at) * sizeof *live_flags);
        memmove(live_ids + at, live_ids + at + 1, (live - at) * sizeof *live_ids);
    }
    hs_database_size(db, &bytes);
    if (streaming) hs_stream_size(db, &state);
    if (hs_alloc_scratch(db, &scratch) != HS_SUCCESS) die("no scratch");
    hs_database_t **place = streaming ? &stream_db : &block_db;
    if (*place) hs_free_database(*place);
    *place = db;
    printf("],\"patterns\":%u,\"compile_ns\":%llu,\"bytes\":%zu,\"state_bytes\":%zu}\n", live,
           (unsigned long long)spent, bytes, state);
}

static void read_corpus(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file) die("cannot open the corpus");
    fseek(file, 0, SEEK_END);
    corpus_bytes = (size_t)ftell(file);
    rewind(file);
    free(corpus);
    corpus = take(corpus_bytes);
    if (fread(corpus, 1, corpus_bytes, file) != corpus_bytes) die("cannot read the corpus");
    fclose(file);
    printf("{\"bytes\":%zu}\n", corpus_bytes);
}

/* The end of the piece that begins at `from`: at most `bytes` further, at a character's start. */
static size_t piece_end(const char *text, size_t from, size_t end, size_t bytes) {
    size_t to = end - from < bytes ? end : from + bytes;
    while (to < end && ((unsigned char)text[to] & 0xC0) == 0x80) to--;
    return to;
}

static int counted(unsigned id, unsigned long long from, unsigned long long to, unsigned f, void *n) {
    (void)id, (void)from, (void)to, (void)f;
    ++*(uint64_t *)n;
    return 0;
}

static void answer(uint64_t spent, uint64_t matches, unsigned repeats) {
    printf("{\"bytes\":%zu,\"cpu_ns\":%llu,\"matches\":%llu}\n", corpus_bytes * repeats,
           (unsigned long long)spent, (unsigned long long)matches);
}

static void scan_blocks(size_t block, unsigned repeats) {
    uint64_t matches = 0, from = cpu_ns();
    if (!block_db) die("not compiled for blocks");
    for (unsigned i = 0; i < repeats; i++)
        for (size_t at = 0, to; at < corpus_bytes; at = to) {
            to = piece_end(corpus, at, corpus_bytes, block);
            hs_scan(block_db, corpus + at, (unsigned)(to - at), 0, scratch, counted, &matches);
        }
    answer(cpu_ns() - from, matches, repeats);
}

static void scan_streams(size_t block, size_t chunk, unsigned repeats) {
    uint64_t matches = 0;
    hs_stream_t *stream = NULL;
    if (!stream_db) die("not compiled for streams");
    if (hs_open_stream(stream_db, 0, &stream) != HS_SUCCESS) die("no stream");
    uint64_t from = cpu_ns();
    for (unsigned i = 0; i < repeats; i++)
        for (size_t at = 0, to; at < corpus_bytes; at = to) {
            to = piece_end(corpus, at, corpus_bytes, block);
            for (size_t part = at, next; part < to; part = next) {
                next = piece_end(corpus, part, to, chunk);
                hs_scan_stream(stream, corpus + part, (unsigned)(next - part), 0, scratch, counted,
                               &matches);
            }
            hs_reset_stream(stream, 0, scratch, counted, &matches);
        }
    answer(cpu_ns() - from, matches, repeats);
    hs_close_stream(stream, scratch, NULL, NULL);
}

static int printed(unsigned id, unsigned long long from, unsigned long long to, unsigned f, void *n) {
    (void)from, (void)f;
    printf("%s[%u,%llu]", (*(uint64_t *)n)++ ? "," : "", id, to);
    return 0;
}

static void scan_text(size_t bytes) {
    uint64_t matches = 0;
    char *text = take(bytes);
    if (fread(text, 1, bytes, stdin) != bytes) die("the text ends early");
    if (!block_db) die("not compiled for blocks");
    printf("{\"ends\":[");
    hs_scan(block_db, text, (unsigned)bytes, 0, scratch, printed, &matches);
    printf("]}\n");
    free(text);
}

int main(int argc, char **argv) {
    char line[4096], word[4096];
    size_t a, b;
    unsigned repeats;
    if (argc != 2) die("usage: scan PATTERNS");
    read_patterns(argv[1]);
    printf("{\"version\":\"%s\",\"patterns\":%u}\n", hs_version(), count);
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "compile %s", word) == 1) compile(word);
        else if (sscanf(line, "corpus %4095[^\n]", word) == 1) read_corpus(word);
        else if (sscanf(line, "block %zu %u", &a, &repeats) == 2) scan_blocks(a, repeats);
        else if (sscanf(line, "stream %zu %zu %u", &a, &b, &repeats) == 3) scan_streams(a, b, repeats);
        else if (sscanf(line, "ends %zu", &a) == 1) scan_text(a);
        else die("unknown command");
        fflush(stdout);
    }
    return 0;
}
