"""Export a model file to other formats. Each exported file is checked against the model before it is written.

onnx_stream        a streaming model, which computes step by step (ONNX)
stream_graph       the graph of a streaming model
embedding_stream   a streaming model on the speech embedding
enrolled_stream    a streaming model of enrolled phrases
stream_report      the result of checking a streaming model
onnx_int8          8-bit ONNX
litert             LiteRT (TFLite), in float32 or 8 bits
c                  C99 source, in float32 or 8 bits
hub                a repository on the Hugging Face Hub
web                a static web page that runs the model in the browser
clips              the clips to calibrate and check on
comparison         compare an exported file with the original model
"""
