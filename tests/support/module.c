/* A module for tests: PROBE.ECHO text; PROBE.SAY key error, which increments the key and answers that error. It needs
 * no header of the server's: a context begins with the function that finds all others by their names. */

#include <stddef.h>

typedef void Ctx;
typedef void String;
typedef int (*Find)(const char *name, void *function);
typedef int (*Run)(Ctx *ctx, String **argv, int argc);

static int (*reply_with_string)(Ctx *ctx, String *text);
static int (*wrong_arity)(Ctx *ctx);
static int (*reply_with_error)(Ctx *ctx, const char *text);
static const char *(*text_of)(const String *string, size_t *len);
static void *(*call)(Ctx *ctx, const char *name, const char *format, ...);
static void (*free_reply)(void *reply);

static int echo(Ctx *ctx, String **argv, int argc) {
    return argc == 2 ? reply_with_string(ctx, argv[1]) : wrong_arity(ctx);
}

static int say(Ctx *ctx, String **argv, int argc) {
    if (argc != 3) return wrong_arity(ctx);
    free_reply(call(ctx, "INCR", "!s", argv[1]));
    return reply_with_error(ctx, text_of(argv[2], NULL));
}

int RedisModule_OnLoad(Ctx *ctx, String **argv, int argc) {
    Find find = *(Find *)ctx;
    void (*set_attributes)(Ctx *ctx, const char *name, int version, int api_version);
    int (*create_command)(Ctx *ctx, const char *name, Run run, const char *flags, int first, int last, int step);
    (void)argv;
    (void)argc;
    find("RedisModule_SetModuleAttribs", &set_attributes);
    find("RedisModule_CreateCommand", &create_command);
    find("RedisModule_ReplyWithString", &reply_with_string);
    find("RedisModule_WrongArity", &wrong_arity);
    find("RedisModule_ReplyWithError", &reply_with_error);
    find("RedisModule_StringPtrLen", &text_of);
    find("RedisModule_Call", &call);
    find("RedisModule_FreeCallReply", &free_reply);
    set_attributes(ctx, "probe", 1, 1);
    int failed = create_command(ctx, "probe.say", say, "write", 1, 1, 1);
    return failed || create_command(ctx, "probe.echo", echo, "readonly fast", 0, 0, 0);
}
