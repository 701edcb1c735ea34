/* A module for tests: PROBE.ECHO text. It needs no header of the server's: a context begins with the function that
 * finds all others by their names. */

typedef void Ctx;
typedef void String;
typedef int (*Find)(const char *name, void *function);
typedef int (*Run)(Ctx *ctx, String **argv, int argc);

static int (*reply_with_string)(Ctx *ctx, String *text);
static int (*wrong_arity)(Ctx *ctx);

static int echo(Ctx *ctx, String **argv, int argc) {
    return argc == 2 ? reply_with_string(ctx, argv[1]) : wrong_arity(ctx);
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
    set_attributes(ctx, "probe", 1, 1);
    return create_command(ctx, "probe.echo", echo, "readonly fast", 0, 0, 0);
}
