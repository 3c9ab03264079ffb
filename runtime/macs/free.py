"""Operators known to hold no multiply-add of weights or of two activations, for each kind of graph.

An operator that is neither here nor among a counter's rules is reported as uncounted, never taken for zero. Average
pooling is here: it adds, and multiplies once per output by a constant.
"""


def _names(*groups: str) -> frozenset[str]:
    return frozenset(name for group in groups for name in group.split())


# Beside pointwise operators and views, which PyTorch marks itself.
FREE_ATEN = frozenset(
    f"aten.{name}"
    for name in _names(
        # look-ups, copies and moves
        "embedding cat stack index index_select gather clone contiguous copy _to_copy to constant_pad_nd pad roll "
        "flip repeat repeat_interleave tile reshape flatten slice_scatter select_scatter index_put scatter "
        "pixel_shuffle pixel_unshuffle channel_shuffle unfold im2col meshgrid upsample_nearest1d upsample_nearest2d "
        "upsample_nearest3d dropout lift_fresh_copy alias detach detach_ expand_as type_as broadcast_to _unsafe_view "
        "reflection_pad1d reflection_pad2d replication_pad1d replication_pad2d split_with_sizes_copy chunk unbind",
        # norms, activations and reductions
        "batch_norm _native_batch_norm_legit_no_training _native_batch_norm_legit native_batch_norm layer_norm "
        "native_layer_norm group_norm native_group_norm instance_norm rms_norm _fused_rms_norm softmax log_softmax "
        "_softmax _log_softmax softmin glu mean sum amax amin max min argmax argmin prod cumsum var var_mean std norm "
        "linalg_vector_norm any all topk sort where maximum minimum hardtanh hardtanh_ relu relu_ relu6 prelu "
        "_prelu_kernel rrelu_with_noise cosine_similarity normalize logsumexp",
        # pooling and resampling by fixed factors
        "avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d _adaptive_avg_pool2d "
        "adaptive_avg_pool3d max_pool1d max_pool2d max_pool3d max_pool2d_with_indices adaptive_max_pool2d "
        "upsample_bilinear2d upsample_bicubic2d upsample_linear1d",
        # constants, shapes and checks
        "full full_like zeros zeros_like ones ones_like empty arange scalar_tensor eye linspace new_zeros new_ones "
        "sym_size item _local_scalar_dense _assert_async _assert_tensor_metadata sym_constrain_range_for_size "
        "_assert_scalar triu tril",
    )
)

FREE_ONNX = _names(
    # elementwise
    "Abs Add And Cast CastLike Ceil Celu Clip Cos Cosh Div Elu Equal Erf Exp Floor Gelu Greater GreaterOrEqual "
    "HardSigmoid HardSwish IsInf IsNaN LeakyRelu Less LessOrEqual Log Max Mean Min Mish Mod Mul Neg Not Or PRelu "
    "Pow Reciprocal Relu Round Selu Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Sub Sum Swish Tan Tanh "
    "ThresholdedRelu Where Xor BitShift BitwiseAnd BitwiseOr BitwiseXor",
    # norms and reductions
    "ArgMax ArgMin BatchNormalization CumSum GroupNormalization Hardmax InstanceNormalization LayerNormalization "
    "LogSoftmax LpNormalization LRN MeanVarianceNormalization ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp "
    "ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare RMSNormalization Softmax TopK",
    # pooling and resampling
    "AveragePool GlobalAveragePool GlobalLpPool GlobalMaxPool LpPool MaxPool Resize Upsample",
    # moves, constants and shapes
    "Compress Concat Constant ConstantOfShape DepthToSpace Dropout Expand EyeLike Flatten Gather GatherElements "
    "GatherND Identity NonZero OneHot Pad Range Reshape ReverseSequence ScatterElements ScatterND Shape Size "
    "Slice SpaceToDepth Split Squeeze Tile Transpose Trilu Unsqueeze",
    # codes
    "DequantizeLinear DynamicQuantizeLinear QuantizeLinear",
)

FREE_TFLITE = _names(
    # elementwise
    "ABS ADD ADD_N CAST CEIL COS DIV ELU EQUAL EXP FLOOR FLOOR_DIV FLOOR_MOD GELU GREATER GREATER_EQUAL "
    "HARD_SWISH LEAKY_RELU LESS LESS_EQUAL LOG LOGICAL_AND LOGICAL_NOT LOGICAL_OR LOGISTIC MAXIMUM MINIMUM MUL "
    "NEG NOT_EQUAL POW PRELU RELU RELU6 RELU_0_TO_1 RELU_N1_TO_1 ROUND RSQRT SELECT SELECT_V2 SIGN SIN SQRT "
    "SQUARE SQUARED_DIFFERENCE SUB TANH ATAN2",
    # norms and reductions
    "ARG_MAX ARG_MIN CUMSUM L2_NORMALIZATION LOG_SOFTMAX MEAN REDUCE_ALL REDUCE_ANY REDUCE_MAX REDUCE_MIN "
    "REDUCE_PROD SOFTMAX SUM TOPK_V2",
    # pooling and resampling
    "AVERAGE_POOL_2D L2_POOL_2D MAX_POOL_2D RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR",
    # moves, constants and state
    "ASSIGN_VARIABLE BATCH_TO_SPACE_ND BROADCAST_TO BROADCAST_ARGS CONCATENATION DEPTH_TO_SPACE EMBEDDING_LOOKUP "
    "EXPAND_DIMS FILL GATHER GATHER_ND MIRROR_PAD ONE_HOT PACK PAD PADV2 RANGE RANK READ_VARIABLE RESHAPE "
    "REVERSE_V2 SCATTER_ND SHAPE SLICE SPACE_TO_BATCH_ND SPACE_TO_DEPTH SPLIT SPLIT_V SQUEEZE STRIDED_SLICE TILE "
    "TRANSPOSE UNPACK VAR_HANDLE ZEROS_LIKE DYNAMIC_UPDATE_SLICE",
    # codes
    "DEQUANTIZE FAKE_QUANT QUANTIZE",
)

FREE_MIL = _names(
    # elementwise
    "abs acos add asin atan atanh cast ceil clamped_relu clip cos cosh elu equal erf exp exp2 floor floor_div gelu "
    "greater greater_equal inverse leaky_relu less less_equal log logical_and logical_not logical_or logical_xor "
    "maximum minimum mod mul not_equal pow prelu real_div relu relu6 round rsqrt scaled_tanh select sigmoid "
    "sigmoid_hard sign silu sin sinh softmax softplus softplus_parametric softsign sqrt square sub tan tanh threshold "
    "thresholded_relu",
    # norms and reductions
    "argsort batch_norm cumsum instance_norm l2_norm layer_norm local_response_norm reduce_argmax reduce_argmin "
    "reduce_l1_norm reduce_l2_norm reduce_log_sum reduce_log_sum_exp reduce_max reduce_mean reduce_min reduce_prod "
    "reduce_sum reduce_sum_square topk",
    # pooling and resampling
    "affine avg_pool crop_resize l2_pool max_pool resample resize resize_bilinear resize_nearest_neighbor "
    "upsample_bilinear upsample_nearest_neighbor",
    # moves, constants, state and shapes
    "band_part batch_to_space classify concat crop depth_to_space expand_dims fill fill_like flatten2d gather "
    "gather_along_axis gather_nd identity non_zero one_hot pad pixel_shuffle pixel_unshuffle range_1d read_state "
    "reshape reshape_like reverse reverse_sequence scatter scatter_along_axis scatter_nd shape slice_by_index "
    "slice_by_size slice_update sliding_windows space_to_batch space_to_depth split squeeze stack tile transpose",
    # codes
    "dequantize quantize",
)
